-- Every statement of the store, by name.
--
-- The writing ones take a group at once: `:rows` is a JSON list with one object per row, and each returns the ids
-- whose row it changed. Those of one group run in the order of this file, so an upload is settled before its jobs.

-- name: insert_upload
-- Add uploads; one whose id, path or key is taken is not returned.
insert into uploads (
    id, kind, state, offset, synced_offset, length, metadata, concat, parts, path, epoch, created_at, expires_at,
    finished_at, rejection, creation_key, creation_digest
)
select
    value ->> 'id', value ->> 'kind', value ->> 'state', value ->> 'offset', value ->> 'synced_offset',
    value ->> 'length', value ->> 'metadata', value ->> 'concat', value -> 'parts', value ->> 'path',
    value ->> 'epoch', value ->> 'created_at', value ->> 'expires_at', value ->> 'finished_at', value ->> 'rejection',
    value ->> 'creation_key', value ->> 'creation_digest'
from json_each(:rows)
where true
on conflict do nothing
returning id;

-- name: advance_upload
-- Compare-and-set with a fence: whoever read an older offset or epoch changes nothing.
update uploads
set
    offset = value ->> 'offset', synced_offset = value ->> 'synced_offset', length = value ->> 'length',
    epoch = value ->> 'fence', expires_at = value ->> 'expires_at', state = value ->> 'state'
from json_each(:rows)
where
    uploads.id = value ->> 'upload_id'
    and uploads.state in ('open', 'finishing')
    and uploads.offset = value ->> 'expected'
    and uploads.epoch in (value ->> 'fence', (value ->> 'fence') - 1)
returning uploads.id;

-- name: finish_upload
-- As advance_upload, and the end of it.
update uploads
set
    offset = value ->> 'offset', synced_offset = value ->> 'synced_offset', length = value ->> 'length',
    epoch = value ->> 'fence', expires_at = value ->> 'expires_at',
    state = value ->> 'state', finished_at = value ->> 'finished_at', rejection = value ->> 'rejection'
from json_each(:rows)
where
    uploads.id = value ->> 'upload_id'
    and uploads.state in ('open', 'assembling', 'finishing')
    and uploads.offset = value ->> 'expected'
    and uploads.epoch in (value ->> 'fence', (value ->> 'fence') - 1)
returning uploads.id;

-- name: mark_synced
-- Never beyond the offset, which may have fallen back meanwhile.
update uploads
set synced_offset = value ->> 'offset'
from json_each(:rows)
where
    uploads.id = value ->> 'upload_id'
    and uploads.synced_offset < value ->> 'offset'
    and uploads.offset >= value ->> 'offset'
returning uploads.id;

-- name: mark_deleting
-- The first step of a removal; the row goes when the data is gone. Its key is free at once.
update uploads
set state = 'deleting', creation_key = null
from json_each(:rows)
where uploads.id = value ->> 'upload_id'
returning uploads.id;

-- name: delete_upload
-- The last step of a removal. Never skips the first.
delete from uploads
where
    state = 'deleting'
    and id in (select value ->> 'upload_id' from json_each(:rows))
returning id;

-- name: delete_jobs
-- Runs for uploads that delete_upload has removed. What tells of their end stays.
delete from jobs
where
    upload_id in (select value ->> 'upload_id' from json_each(:rows))
    and event ->> 'moment' <> 'post-terminate'
returning upload_id;

-- name: insert_job
-- Runs for uploads that insert_upload, finish_upload or mark_deleting has changed in the same transaction. One that is
-- there already is left alone, unless it tells of an earlier upload of this name.
insert or replace into jobs (
    upload_id, task, state, priority, attempt, scheduled_at, created_at, ended_at, progress, error, output, result,
    history, event
)
select
    value ->> 'upload_id', value ->> 'task', value ->> 'state', value ->> 'priority', value ->> 'attempt',
    value ->> 'scheduled_at', value ->> 'created_at', value ->> 'ended_at', value ->> 'progress', value ->> 'error',
    value ->> 'output', value ->> 'result', value -> 'history', value -> 'event'
from json_each(:rows)
where
    not exists (
        select 1
        from jobs
        where
            jobs.upload_id = value ->> 'upload_id'
            and jobs.task = value ->> 'task'
            and (
                jobs.state = 'executing'
                or jobs.event ->> '$.upload.created_at' = value ->> '$.event.upload.created_at'
            )
    )
returning upload_id;

-- name: save_job
-- A job that is gone stays gone.
update jobs
set
    state = value ->> 'state', attempt = value ->> 'attempt', scheduled_at = value ->> 'scheduled_at',
    ended_at = value ->> 'ended_at', progress = value ->> 'progress', error = value ->> 'error',
    output = value ->> 'output', result = value ->> 'result', history = value -> 'history'
from json_each(:rows)
where jobs.upload_id = value ->> 'upload_id' and jobs.task = value ->> 'task'
returning jobs.upload_id;

-- name: rescue_jobs
update jobs
set state = 'available', scheduled_at = :now
where state = 'executing';

-- name: prune_jobs
delete from jobs
where
    rowid in (
        select rowid from jobs where ended_at < :before and ended_at is not null order by ended_at limit :limit
    );

-- The reading ones.

-- name: get_upload
select
    id, kind, state, offset, synced_offset, length, metadata, concat, parts, path, epoch, created_at, expires_at,
    finished_at, rejection, creation_key, creation_digest
from uploads
where id = :id;

-- name: find_created
select
    id, kind, state, offset, synced_offset, length, metadata, concat, parts, path, epoch, created_at, expires_at,
    finished_at, rejection, creation_key, creation_digest
from uploads indexed by uploads_created
where creation_key = :key;

-- name: list_uploads
select
    id, kind, state, offset, synced_offset, length, metadata, concat, parts, path, epoch, created_at, expires_at,
    finished_at, rejection, creation_key, creation_digest
from uploads
where id > :after and (:states = '[]' or state in (select value from json_each(:states)))
order by id
limit :limit;

-- name: list_unsettled
-- As list_uploads, for the states that are rare; without looking at all uploads.
select
    id, kind, state, offset, synced_offset, length, metadata, concat, parts, path, epoch, created_at, expires_at,
    finished_at, rejection, creation_key, creation_digest
from uploads indexed by uploads_unsettled
where
    id > :after
    and state in ('assembling', 'finishing', 'deleting')
    and state in (select value from json_each(:states))
order by id
limit :limit;

-- name: list_expired
select id
from uploads
where expires_at <= :now and expires_at is not null and state in ('open', 'finishing', 'finished', 'rejected')
order by expires_at
limit :limit;

-- name: list_unsynced
select id, offset
from uploads indexed by uploads_unsynced
where synced_offset < offset
order by id
limit :limit;

-- name: get_usage
-- `total` and not `sum`: together the announced lengths may be more than an integer holds.
select count(*), total(length)
from uploads indexed by uploads_open
where state = 'open';

-- name: known_uploads
-- By id, and by the path of the data with a slash in front.
select id
from uploads
where id in (select value from json_each(:keys))
union all
select '/' || path
from uploads indexed by uploads_named
where path is not null and path in (select substr(value, 2) from json_each(:keys) where value like '/%');

-- name: due_jobs
-- Those of one moment in the order in which they came.
select
    upload_id, task, state, priority, attempt, scheduled_at, created_at, ended_at, progress, error, output, result,
    history, event
from jobs
where
    ended_at is null
    and scheduled_at <= :now
    and (:busy = '[]' or task not in (select value from json_each(:busy)))
order by priority desc, scheduled_at, rowid
limit :limit;

-- name: next_job_at
select min(scheduled_at)
from jobs
where scheduled_at > :after and ended_at is null;

-- name: list_jobs
select
    upload_id, task, state, priority, attempt, scheduled_at, created_at, ended_at, progress, error, output, result,
    history, event
from jobs
where
    (upload_id, task) > (:after_id, :after_task)
    and (:task is null or task = :task)
    and (:states = '[]' or state in (select value from json_each(:states)))
order by upload_id, task
limit :limit;

-- name: list_upload_jobs
-- As list_jobs, of one upload.
select
    upload_id, task, state, priority, attempt, scheduled_at, created_at, ended_at, progress, error, output, result,
    history, event
from jobs
where
    upload_id = :upload_id
    and (upload_id, task) > (:after_id, :after_task)
    and (:task is null or task = :task)
    and (:states = '[]' or state in (select value from json_each(:states)))
order by task
limit :limit;

-- name: list_open_jobs
-- As list_jobs, for states that are no end; without looking at all jobs.
select
    upload_id, task, state, priority, attempt, scheduled_at, created_at, ended_at, progress, error, output, result,
    history, event
from jobs indexed by jobs_scheduled
where
    ended_at is null
    and (upload_id, task) > (:after_id, :after_task)
    and (:task is null or task = :task)
    and state in (select value from json_each(:states))
order by upload_id, task
limit :limit;

-- name: stray_jobs
-- Those of an upload on its way out go with it; what tells of the end of one is owed for none.
select
    upload_id, task, state, priority, attempt, scheduled_at, created_at, ended_at, progress, error, output, result,
    history, event
from jobs
where
    (upload_id, task) > (:after_id, :after_task)
    and ended_at is null
    and event ->> 'moment' <> 'post-terminate'
    and not exists (select 1 from uploads where id = jobs.upload_id and state in ('finished', 'deleting'))
order by upload_id, task
limit :limit;

-- name: get_meta
select value
from meta
where key = :key;

-- name: set_meta
insert into meta (key, value)
values (:key, :value)
on conflict (key) do update set value = excluded.value;

-- name: any_upload
select 1 from uploads limit 1;

-- name: probe_uploads
-- Read both ends of the tree: a database damaged there is refused at start, at a cost that does not grow.
select
    (select min(id) from uploads),
    (select max(id) from uploads),
    (
        select max(expires_at) from uploads
        where expires_at is not null and state in ('open', 'finishing', 'finished', 'rejected')
    );

-- name: probe_jobs
select
    (select min(upload_id) from jobs),
    (select max(upload_id) from jobs),
    (select max(rowid) from jobs),
    (select max(scheduled_at) from jobs where ended_at is null),
    (select max(ended_at) from jobs where ended_at is not null);

-- What an unclean boot takes back. The operating system may have lost every byte that was not synced: `offset`
-- falls back to what was, so that zeros are never served. In this order.

-- name: drop_unsynced_jobs
-- A job must not run for bytes that may be gone; it comes back when the upload is finished again.
delete from jobs
where upload_id in (select id from uploads where state = 'finished' and synced_offset < length);

-- name: discard_unsynced_finals
-- Nobody can send a final upload again: its client has to ask for a new concatenation.
update uploads
set state = 'deleting', creation_key = null
where state = 'finished' and kind = 'final' and synced_offset < length;

-- name: reopen_unsynced
-- Finishing took the expiry away, so it gets a new one, in a week: long enough for its client to come back.
update uploads
set state = 'open', expires_at = coalesce(expires_at, unixepoch() + 7 * 86400.0), finished_at = null, rejection = null
where state in ('finishing', 'finished', 'rejected') and synced_offset < length;

-- name: fall_back
update uploads
set offset = synced_offset
where state in ('open', 'assembling') and offset > synced_offset;
