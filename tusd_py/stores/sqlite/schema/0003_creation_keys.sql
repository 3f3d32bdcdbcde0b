-- Keys by which a creation is found again whose answer was lost. Of most uploads there is none, and nothing to index.

alter table uploads add column creation_key text;
alter table uploads add column creation_digest text;

create unique index uploads_created on uploads (creation_key)
where creation_key is not null;
