-- Short bodies, until their data is synced: they are safe with the row that counts them. Without an index on the uploads:
-- each would cost every entry a page of the log, and entries do not stay.

create table journal (
    number integer primary key,
    upload_id text not null,
    offset integer not null,
    data blob not null
) strict;
