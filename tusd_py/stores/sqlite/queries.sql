-- Every statement of the store, by name.
--
-- The writing ones take a group at once: `:rows` is a JSON list with one object per row, and each returns the ids
-- whose row it changed. Those of one group run in the order of this file, so an upload is settled before its jobs.

-- name: insert_upload
-- Add uploads; an id that is taken is not returned.
insert into uploads (
    id, kind, state, offset, synced_offset, length, metadata, concat, parts, epoch, created_at, expires_at, finished_at
)
select
    value ->> 'id', value ->> 'kind', value ->> 'state', value ->> 'offset', value ->> 'synced_offset',
    value ->> 'length', value ->> 'metadata', value ->> 'concat', value -> 'parts', value ->> 'epoch',
    value ->> 'created_at', value ->> 'expires_at', value ->> 'finished_at'
from json_each(:rows)
where true
on conflict (id) do nothing
returning id;

-- name: advance_upload
-- Compare-and-set with a fence: whoever read an older offset or epoch changes nothing.
update uploads
set
    offset = value ->> 'offset', synced_offset = value ->> 'synced_offset', length = value ->> 'length',
    epoch = value ->> 'fence', expires_at = value ->> 'expires_at'
from json_each(:rows)
where
    uploads.id = value ->> 'upload_id'
    and uploads.state = 'open'
    and uploads.offset = value ->> 'expected'
    and uploads.epoch in (value ->> 'fence', (value ->> 'fence') - 1)
returning uploads.id;

-- name: finish_upload
-- As advance_upload, and the end of it.
update uploads
set
    offset = value ->> 'offset', synced_offset = value ->> 'synced_offset', length = value ->> 'length',
    epoch = value ->> 'fence', expires_at = value ->> 'expires_at',
    state = 'finished', finished_at = value ->> 'finished_at'
from json_each(:rows)
where
    uploads.id = value ->> 'upload_id'
    and uploads.state in ('open', 'assembling')
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
-- The first step of a removal; the row goes when the data is gone.
update uploads
set state = 'deleting'
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
-- Runs for uploads that delete_upload has removed.
delete from jobs
where upload_id in (select value ->> 'upload_id' from json_each(:rows))
returning upload_id;

-- name: insert_job
-- Runs for uploads that insert_upload or finish_upload has settled in the same transaction.
insert into jobs (upload_id, task, attempt, scheduled_at, error)
select
    value ->> 'upload_id', value ->> 'task', value ->> 'attempt', value ->> 'scheduled_at', value ->> 'error'
from json_each(:rows)
where true
returning upload_id;

-- name: retry_job
-- A job that is gone, with its upload or done, stays gone.
update jobs
set
    attempt = value ->> 'attempt', scheduled_at = value ->> 'scheduled_at', error = value ->> 'error'
from json_each(:rows)
where jobs.upload_id = value ->> 'upload_id' and jobs.task = value ->> 'task'
returning jobs.upload_id;

-- name: complete_job
delete from jobs
where (upload_id, task) in (select value ->> 'upload_id', value ->> 'task' from json_each(:rows))
returning upload_id;

-- The reading ones.

-- name: get_upload
select
    id, kind, state, offset, synced_offset, length, metadata, concat, parts, epoch, created_at, expires_at, finished_at
from uploads
where id = :id;

-- name: list_uploads
select
    id, kind, state, offset, synced_offset, length, metadata, concat, parts, epoch, created_at, expires_at, finished_at
from uploads
where id > :after and (:states = '[]' or state in (select value from json_each(:states)))
order by id
limit :limit;

-- name: list_unsettled
-- As list_uploads, for the states that are rare; without looking at all uploads.
select
    id, kind, state, offset, synced_offset, length, metadata, concat, parts, epoch, created_at, expires_at, finished_at
from uploads indexed by uploads_unsettled
where
    id > :after
    and state in ('assembling', 'deleting')
    and state in (select value from json_each(:states))
order by id
limit :limit;

-- name: list_expired
select id
from uploads
where expires_at <= :now and expires_at is not null and state in ('open', 'finished')
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
select id
from uploads
where id in (select value from json_each(:ids));

-- name: due_jobs
select upload_id, task, attempt, scheduled_at, error
from jobs
where scheduled_at <= :now
order by scheduled_at, upload_id, task
limit :limit;

-- name: stray_jobs
-- Those of an upload on its way out go with it.
select upload_id, task
from jobs
where
    (upload_id, task) > (:after_id, :after_task)
    and not exists (select 1 from uploads where id = jobs.upload_id and state in ('finished', 'deleting'))
order by upload_id, task
limit :limit;

-- name: next_job_at
select min(scheduled_at)
from jobs
where scheduled_at > :after;

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
    (select max(expires_at) from uploads where expires_at is not null and state in ('open', 'finished'));

-- name: probe_jobs
select (select min(upload_id) from jobs), (select max(upload_id) from jobs), (select max(scheduled_at) from jobs);

-- What an unclean boot takes back. The operating system may have lost every byte that was not synced: `offset`
-- falls back to what was, so that zeros are never served. In this order.

-- name: drop_unsynced_jobs
-- A job must not run for bytes that may be gone; it comes back when the upload is finished again.
delete from jobs
where upload_id in (select id from uploads where state = 'finished' and synced_offset < length);

-- name: discard_unsynced_finals
-- Nobody can send a final upload again: its client has to ask for a new concatenation.
update uploads
set state = 'deleting'
where state = 'finished' and kind = 'final' and synced_offset < length;

-- name: reopen_unsynced
-- Finishing took the expiry away, so it gets a new one, in a week: long enough for its client to come back.
update uploads
set state = 'open', expires_at = coalesce(expires_at, unixepoch() + 7 * 86400.0), finished_at = null
where state = 'finished' and synced_offset < length;

-- name: fall_back
update uploads
set offset = synced_offset
where state in ('open', 'assembling') and offset > synced_offset;
