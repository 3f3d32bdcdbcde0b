-- Uploads whose end somebody has to agree to, and jobs with everything that becomes of them.

create table uploads_new (
    id text not null primary key,
    kind text not null check (kind in ('single', 'partial', 'final')),
    state text not null check (state in ('open', 'assembling', 'finishing', 'finished', 'rejected', 'deleting')),
    -- Bytes acknowledged, and how many of them are known to survive a power cut.
    offset integer not null check (offset >= 0),
    synced_offset integer not null check (synced_offset >= 0),
    length integer check (length >= offset),
    metadata text not null,
    concat text,
    parts text not null,  -- JSON list of ids
    -- Where the data is kept, when somebody chose; else it follows from the id.
    path text,
    epoch integer not null,
    -- Seconds since the Unix epoch.
    created_at real not null,
    expires_at real,
    finished_at real,
    -- Why a hook refused it; of rejected ones only.
    rejection text
) strict, without rowid;

insert into uploads_new
select
    id, kind, state, offset, synced_offset, length, metadata, concat, parts, null, epoch, created_at, expires_at,
    finished_at, null
from uploads;

create table jobs_new (
    upload_id text not null,
    task text not null,
    state text not null check (
        state in ('scheduled', 'available', 'executing', 'retryable', 'completed', 'cancelled', 'discarded')
    ),
    priority integer not null,
    attempt integer not null,
    -- Seconds since the Unix epoch. Of an executing job `scheduled_at` is the end of its lease.
    scheduled_at real not null,
    created_at real not null,
    ended_at real,
    progress real,
    error text not null,
    output text not null,
    result text,  -- JSON
    history text not null,  -- JSON list of attempts
    event text not null,  -- JSON: what happened to the upload
    primary key (upload_id, task)
) strict;

insert into jobs_new
select
    jobs.upload_id, jobs.task, iif(jobs.attempt > 0, 'retryable', 'available'), 0, jobs.attempt, jobs.scheduled_at,
    coalesce(uploads.finished_at, uploads.created_at), null, null, jobs.error, '', null, '[]',
    json_object(
        'moment', 'post-finish',
        'upload', json_object(
            'id', uploads.id, 'kind', uploads.kind, 'state', uploads.state, 'offset', uploads.offset,
            'synced_offset', uploads.synced_offset, 'length', uploads.length, 'metadata', uploads.metadata,
            'concat', uploads.concat, 'parts', json(uploads.parts), 'epoch', uploads.epoch,
            'created_at', uploads.created_at, 'expires_at', uploads.expires_at, 'finished_at', uploads.finished_at
        ),
        'at', coalesce(uploads.finished_at, uploads.created_at)
    )
from jobs
inner join uploads on uploads.id = jobs.upload_id;

drop table uploads;
alter table uploads_new rename to uploads;
drop table jobs;
alter table jobs_new rename to jobs;

-- The sweep looks at what has expired, never at all uploads.
create index uploads_expiring on uploads (expires_at)
where expires_at is not null and state in ('open', 'finishing', 'finished', 'rejected');

-- The limits on open uploads ask how many there are and what they announced, never all uploads.
create index uploads_open on uploads (length)
where state = 'open';

-- What is not known to survive a power cut; at the level `patch` that is nothing.
create index uploads_unsynced on uploads (id)
where synced_offset < offset;

-- Start-up looks at what a crash left half-done, never at all uploads.
create index uploads_unsettled on uploads (id)
where state in ('assembling', 'finishing', 'deleting');

-- Named data is looked for by its path when the directory is cleaned up.
create unique index uploads_named on uploads (path)
where path is not null;

-- Workers take what is due, the most urgent first, and sleep until the next one is; jobs that ended are not in the way.
create index jobs_due on jobs (priority desc, scheduled_at)
where ended_at is null;

create index jobs_scheduled on jobs (scheduled_at)
where ended_at is null;

create index jobs_executing on jobs (upload_id)
where state = 'executing';

create index jobs_ended on jobs (ended_at)
where ended_at is not null;
