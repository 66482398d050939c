-- What follows when a message fails after Twilio has accepted it, and campaigns whose openings are held back.

ALTER TABLE message
    -- When it was last claimed to go as its template; null: it went, or is to go, as its text.
    ADD COLUMN as_template_at timestamptz,
    -- Of a message that repeats a failed one: how often that was after a pause, whether its address is the other
    -- spelling of one that was not found, and when the text first came into the outbox.
    ADD COLUMN repeats smallint NOT NULL DEFAULT 0,
    ADD COLUMN is_respelled boolean NOT NULL DEFAULT false,
    ADD COLUMN written_at timestamptz,
    -- When it was known that it has left, or has failed.
    ADD COLUMN result_at timestamptz,
    -- Of an opening: the batch of its call, else the voice agent; and the round of probes in which it was let through.
    ADD COLUMN campaign text,
    ADD COLUMN probe_round integer;

UPDATE message m SET campaign = coalesce(k.batch_id, k.agent_id)
FROM call k
WHERE k.id = m.call_id AND m.purpose = 'opening' AND m.status IN ('pending', 'sending');

-- Templates that ask a person to write, so that an answer can go as text.
CREATE INDEX message_reopening ON message (person_id) WHERE as_template_at IS NOT NULL AND purpose <> 'opening';
CREATE INDEX message_campaign ON message (campaign, result_at) WHERE campaign IS NOT NULL AND result_at IS NOT NULL;

-- A row for each campaign of which an opening has failed.
CREATE TABLE campaign (
    id text PRIMARY KEY,
    failed_at timestamptz NOT NULL,
    -- Results before then are forgotten.
    counts_after timestamptz,
    -- Null while nothing is held back.
    held_since timestamptz,
    -- When the next probes go.
    look_at timestamptz,
    error_code integer,
    probe_round integer NOT NULL DEFAULT 0,
    -- Probes under way.
    probes integer NOT NULL DEFAULT 0
);
