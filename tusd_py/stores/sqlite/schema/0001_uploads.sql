-- Uploads, the jobs they owe, and what is known of this database itself.

create table meta (
    key text not null primary key,
    value text not null
) strict, without rowid;

-- One row per upload, whatever its state. Clustered by id: a HEAD is one descent of one tree.
create table uploads (
    id text not null primary key,
    kind text not null check (kind in ('single', 'partial', 'final')),
    state text not null check (state in ('open', 'assembling', 'finished', 'deleting')),
    -- Bytes acknowledged, and how many of them are known to survive a power cut.
    offset integer not null check (offset >= 0),
    synced_offset integer not null check (synced_offset >= 0),
    length integer check (length >= offset),
    metadata text not null,
    concat text,
    parts text not null,  -- JSON list of ids
    epoch integer not null,
    -- Seconds since the Unix epoch.
    created_at real not null,
    expires_at real,
    finished_at real
) strict, without rowid;

-- The sweep looks at what has expired, never at all uploads.
create index uploads_expiring on uploads (expires_at)
where expires_at is not null and state in ('open', 'finished');

-- The limits on open uploads ask how many there are and what they announced, never all uploads.
create index uploads_open on uploads (length)
where state = 'open';

-- What is not known to survive a power cut; at the level `patch` that is nothing.
create index uploads_unsynced on uploads (id)
where synced_offset < offset;

-- Start-up looks at what a crash left half-done, never at all uploads.
create index uploads_unsettled on uploads (id)
where state in ('assembling', 'deleting');

create table jobs (
    upload_id text not null,
    task text not null,
    attempt integer not null,
    scheduled_at real not null,
    error text not null,
    primary key (upload_id, task)
) strict, without rowid;

create index jobs_scheduled on jobs (scheduled_at);
