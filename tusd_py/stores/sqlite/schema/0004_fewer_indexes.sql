-- Every index costs each change a page of the log. One serves two purposes, and what is not synced is found by when it
-- was made: neighbours in time share a page, while those in the order of their ids, which are random, never do.

drop index uploads_expiring;
drop index uploads_open;

-- The sweep looks at what has expired, and the limits on open uploads ask how many there are and what they announced;
-- never at all uploads.
create index uploads_unfinished on uploads (state, expires_at, length)
where state = 'open' or expires_at is not null;

drop index uploads_unsynced;

-- What is not known to survive a power cut; at the level `patch` that is nothing.
create index uploads_unsynced on uploads (created_at)
where synced_offset < offset;
