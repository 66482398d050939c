-- Calls that people make to us: where each stands, so that a restarted daemon goes on with it, and the messages they leave.

CREATE TABLE live_call (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    -- Of the caller's own leg, by which Twilio's requests are known to belong together.
    call_sid text NOT NULL UNIQUE,
    -- Canonical numbers; null where there is none.
    caller text,
    called text,
    mode text NOT NULL,
    -- A part of the state, here once more for whoever looks at the calls without knowing what a state holds.
    phase text NOT NULL,
    -- Written and read by one program: fields it does not know are left out, and those that are missing have defaults.
    state jsonb NOT NULL,
    started_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    ended_at timestamptz,
    ending text,
    -- Whether one of its sessions leads to an opening; for a session that is only told of when the call is over.
    follows_up boolean,
    CHECK ((ended_at IS NULL) = (ending IS NULL) AND (ended_at IS NULL) = (follows_up IS NULL))
);
CREATE INDEX live_call_unfinished ON live_call (id) WHERE ended_at IS NULL;

-- Messages that callers left: to be fetched from Twilio until they are 'kept' or 'dropped', and then to be deleted there.
CREATE TABLE live_recording (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    live_call_id bigint NOT NULL REFERENCES live_call ON DELETE CASCADE,
    sid text NOT NULL UNIQUE,
    -- Whom it is for; empty when nobody was tried.
    advisor text NOT NULL,
    duration_s integer NOT NULL,
    recorded_at timestamptz NOT NULL,
    -- To fetch it; once it is kept, to delete it at Twilio.
    attempts integer NOT NULL DEFAULT 0,
    look_at timestamptz NOT NULL,
    audio bytea,
    content_type text,
    kept_at timestamptz,
    -- At Twilio.
    deleted_at timestamptz,
    dropped_reason text,
    -- The message that tells the advisor of it.
    notice_id bigint REFERENCES message ON DELETE SET NULL,
    CHECK ((kept_at IS NULL) = (audio IS NULL) AND (kept_at IS NULL) = (content_type IS NULL)),
    CHECK (kept_at IS NULL OR dropped_reason IS NULL),
    CHECK (deleted_at IS NULL OR kept_at IS NOT NULL)
);
CREATE INDEX live_recording_due ON live_recording (look_at) WHERE kept_at IS NULL AND dropped_reason IS NULL;
CREATE INDEX live_recording_undeleted ON live_recording (look_at) WHERE kept_at IS NOT NULL AND deleted_at IS NULL;
CREATE INDEX live_recording_call ON live_recording (live_call_id);
CREATE INDEX live_recording_notice ON live_recording (notice_id) WHERE notice_id IS NOT NULL;
-- Sound does not become smaller.
ALTER TABLE live_recording ALTER COLUMN audio SET STORAGE EXTERNAL;

-- Each session that the agent has in a live call is a call, which nobody follows up ('live') before the live call ends.
ALTER TABLE call
    ADD COLUMN live_call_id bigint REFERENCES live_call ON DELETE SET NULL,
    -- What else happened in the live call, in words for the person's agent.
    ADD COLUMN note text,
    -- It leads to no opening of its own: a longer session of its live call does, or none is to.
    ADD COLUMN is_part boolean NOT NULL DEFAULT false,
    DROP CONSTRAINT call_follow_up_check,
    ADD CONSTRAINT call_follow_up_check
        CHECK (follow_up IN ('live', 'awaiting_details', 'due', 'queued', 'handled', 'refused', 'none'));
CREATE INDEX call_live_call ON call (live_call_id) WHERE live_call_id IS NOT NULL;
