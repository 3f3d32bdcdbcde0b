-- Every statement of the store, by name.
--
-- The writing ones take one row each, by the names of its fields. Those of a change run in the order in which the
-- change names them, and when the first changes nothing, the others do not run.

-- name: insert_upload
-- Add an upload, unless its id, path or key is taken.
insert into uploads (
    id, kind, state, offset, synced_offset, length, metadata, concat, parts, path, epoch, created_at, expires_at,
    finished_at, rejection, creation_key, creation_digest
)
values (
    :id, :kind, :state, :offset, :synced_offset, :length, :metadata, :concat, :parts, :path, :epoch, :created_at,
    :expires_at, :finished_at, :rejection, :creation_key, :creation_digest
)
on conflict do nothing;

-- name: advance_upload
-- Compare-and-set with a fence: whoever read an older offset or epoch changes nothing.
update uploads
set
    offset = :offset, synced_offset = :synced_offset, length = :length, epoch = :fence, expires_at = :expires_at,
    state = :state
where
    id = :upload_id
    and state in ('open', 'finishing')
    and offset = :expected
    and epoch in (:fence, :fence - 1);

-- name: finish_upload
-- As advance_upload, and the end of it.
update uploads
set
    offset = :offset, synced_offset = :synced_offset, length = :length, epoch = :fence, expires_at = :expires_at,
    state = :state, finished_at = :finished_at, rejection = :rejection
where
    id = :upload_id
    and state in ('open', 'assembling', 'finishing')
    and offset = :expected
    and epoch in (:fence, :fence - 1);

-- name: mark_synced
-- Never beyond the offset, which may have fallen back meanwhile.
update uploads
set synced_offset = :offset
where id = :upload_id and synced_offset < :offset and offset >= :offset;

-- name: mark_deleting
-- The first step of a removal; the row goes when the data is gone. Its key is free at once.
update uploads
set state = 'deleting', creation_key = null
where id = :upload_id;

-- name: delete_upload
-- The last step of a removal. Never skips the first.
delete from uploads
where state = 'deleting' and id = :upload_id;

-- name: delete_jobs
-- Runs behind delete_upload. What tells of the end of an upload stays.
delete from jobs
where upload_id = :upload_id and event ->> 'moment' <> 'post-terminate';

-- name: insert_job
-- Runs behind insert_upload, finish_upload or mark_deleting, in the same transaction. One that is there already is left
-- alone, unless it tells of an earlier upload of this name.
insert or replace into jobs (
    upload_id, task, state, priority, attempt, scheduled_at, created_at, ended_at, progress, error, output, result,
    history, event
)
select
    :upload_id, :task, :state, :priority, :attempt, :scheduled_at, :created_at, :ended_at, :progress, :error, :output,
    :result, :history, :event
where
    not exists (
        select 1
        from jobs
        where
            upload_id = :upload_id
            and task = :task
            and (
                state = 'executing'
                or event ->> '$.upload.created_at' = :event ->> '$.upload.created_at'
            )
    );

-- name: save_job
-- A job that is gone stays gone.
update jobs
set
    state = :state, attempt = :attempt, scheduled_at = :scheduled_at, ended_at = :ended_at, progress = :progress,
    error = :error, output = :output, result = :result, history = :history
where upload_id = :upload_id and task = :task;

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

-- name: add_to_journal
-- Runs behind insert_upload, advance_upload or finish_upload: the bytes before the offset that it stores.
insert into journal (number, upload_id, offset, data) values (:number, :upload_id, :offset, :data);

-- name: remove_from_journal
-- Runs behind delete_upload: another upload may have the same name.
delete from journal
where number = :number;

-- name: forget_journal
delete from journal
where number between :first and :last and upload_id not in (select value from json_each(:but));

-- name: cut_journal
-- Runs behind what lets offsets fall: other bytes may come there, which are not in the journal.
delete from journal
where
    number in (
        select number
        from journal
        inner join uploads on uploads.id = journal.upload_id
        where journal.offset + length(journal.data) > uploads.offset
    );

-- The reading ones.

-- name: list_journal
select number, upload_id, length(data)
from journal
order by number;

-- name: read_journal
select
    journal.number, journal.offset, journal.data,
    uploads.id, kind, state, uploads.offset, synced_offset, length, metadata, concat, parts, path, epoch, created_at,
    expires_at, finished_at, rejection, creation_key, creation_digest
from journal
inner join uploads on uploads.id = journal.upload_id
where number > :after and state <> 'deleting'
order by number
limit :limit;

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
-- State by state, so that each part is read in the order of the index and no further than it has to be.
select id
from (
    select * from (
        select id, expires_at from uploads
        where state = 'open' and expires_at <= :now and expires_at is not null order by expires_at limit :limit
    )
    union all
    select * from (
        select id, expires_at from uploads
        where state = 'finishing' and expires_at <= :now and expires_at is not null order by expires_at limit :limit
    )
    union all
    select * from (
        select id, expires_at from uploads
        where state = 'finished' and expires_at <= :now and expires_at is not null order by expires_at limit :limit
    )
    union all
    select * from (
        select id, expires_at from uploads
        where state = 'rejected' and expires_at <= :now and expires_at is not null order by expires_at limit :limit
    )
)
order by expires_at
limit :limit;

-- name: list_unsynced
select id, offset
from uploads indexed by uploads_unsynced
where synced_offset < offset
order by created_at, id
limit :limit;

-- name: get_usage
-- `total` and not `sum`: together the announced lengths may be more than an integer holds.
select count(*), total(length)
from uploads indexed by uploads_unfinished
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
    (select max(expires_at) from uploads where state = 'open' and expires_at is not null);

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
