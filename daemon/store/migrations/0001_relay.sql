-- People, their calls, and their conversations on WhatsApp.
--
-- Two kinds of work stand here as rows, so that a crash loses neither: inbound messages in status 'received'
-- (somebody waits for an answer) and outbound messages in status 'pending' or 'sending' (the outbox).
-- Every partial index below belongs to one of the questions that are asked of that work.

CREATE TABLE person (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    -- What ElevenLabs knows the person by (`user_id`): says nothing about who it is.
    pseudonym uuid NOT NULL DEFAULT gen_random_uuid(),
    phone_number text,
    name text,
    created_at timestamptz NOT NULL DEFAULT now()
);

-- All canonical names under which messages and calls of a person arrive: numbers, business-scoped user ids.
CREATE TABLE person_identity (
    identity text PRIMARY KEY,
    person_id bigint NOT NULL REFERENCES person ON DELETE CASCADE
);
CREATE INDEX person_identity_person ON person_identity (person_id);

CREATE TABLE batch (
    id text PRIMARY KEY,
    name text NOT NULL,
    agent_id text NOT NULL,
    status text NOT NULL,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    -- `updated_at` of the moment from which nothing was left to learn; a retry moves `updated_at` past it.
    settled_at timestamptz
);

CREATE TABLE batch_recipient (
    batch_id text NOT NULL REFERENCES batch ON DELETE CASCADE,
    recipient_id text NOT NULL,
    phone_number text,
    status text NOT NULL,
    outcome text,
    -- ElevenLabs conversation id; null until dialled, another one after a retry.
    call_id text,
    variables jsonb NOT NULL DEFAULT '{}',
    PRIMARY KEY (batch_id, recipient_id)
);

-- At most one open conversation a person; a closed one stays as history.
CREATE TABLE conversation (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    person_id bigint NOT NULL REFERENCES person ON DELETE CASCADE,
    agent_id text NOT NULL,
    -- The newest agent session of this conversation.
    agent_conversation_id text,
    status text NOT NULL DEFAULT 'active'
        CHECK (status IN ('active', 'window_closed', 'escalated', 'closed')),
    started_at timestamptz NOT NULL DEFAULT now(),
    closed_at timestamptz,
    -- Turns the agent failed to answer, in a row, and when the unanswered messages are tried again.
    turn_failures integer NOT NULL DEFAULT 0,
    turn_retry_at timestamptz,
    -- Stands behind message's foreign key, and finds a person's newest conversation.
    UNIQUE (person_id, id)
);
CREATE UNIQUE INDEX conversation_open ON conversation (person_id) WHERE status <> 'closed';

-- Finished calls; the id is the ElevenLabs conversation id, the one key by which a call is followed up once.
CREATE TABLE call (
    id text PRIMARY KEY,
    sighting text NOT NULL,
    seen_at timestamptz NOT NULL,
    agent_id text,
    phone_number text,
    person_id bigint REFERENCES person ON DELETE CASCADE,
    -- The WhatsApp conversation its opening belongs to.
    conversation_id bigint REFERENCES conversation ON DELETE CASCADE,
    client_name text,
    batch_id text,
    recipient_id text,
    variables jsonb NOT NULL DEFAULT '{}',
    outcome text CHECK (outcome IN ('completed', 'voicemail', 'no_answer', 'busy', 'failed', 'cancelled')),
    direction text,
    started_at timestamptz,
    ended_at timestamptz,
    duration_s integer,
    transcript jsonb,
    summary text,
    title text,
    successful text,
    collected jsonb NOT NULL DEFAULT '{}',
    sentiment text,
    follow_up text NOT NULL DEFAULT 'awaiting_details'
        CHECK (follow_up IN ('awaiting_details', 'due', 'queued', 'handled', 'refused', 'none')),
    follow_up_note text,
    attempts integer NOT NULL DEFAULT 0,
    look_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX call_awaiting ON call (look_at) WHERE follow_up = 'awaiting_details';
CREATE INDEX call_due ON call (person_id) WHERE follow_up = 'due';
CREATE INDEX call_person ON call (person_id, started_at DESC);
CREATE INDEX call_conversation ON call (conversation_id);
CREATE INDEX call_batch ON call (batch_id) WHERE batch_id IS NOT NULL;

-- Inbound messages are 'received' until they are 'answered', or 'dropped' when their conversation is closed first.
CREATE TABLE message (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    conversation_id bigint NOT NULL,
    -- The conversation's person, here once more because the indexes below begin with it.
    person_id bigint NOT NULL,
    direction text NOT NULL,
    -- The person's WhatsApp address, exactly as it came, without the channel's prefix.
    address text NOT NULL,
    content text NOT NULL,
    twilio_sid text,
    status text NOT NULL,
    -- Order of outbound statuses: a status only moves to a higher rank.
    status_rank smallint NOT NULL DEFAULT 0,
    error_code integer,
    error_detail text,
    created_at timestamptz NOT NULL,
    -- Inbound: what kind of message it was, and the webhook's form.
    kind text,
    fields jsonb,
    -- Outbound: why, as what, and how far.
    purpose text,
    call_id text REFERENCES call ON DELETE SET NULL,
    -- What goes in place of the text where the window is closed; must where it turned out so by 63016.
    template_sid text,
    template_variables jsonb,
    must_use_template boolean NOT NULL DEFAULT false,
    note text,
    attempts integer NOT NULL DEFAULT 0,
    not_before timestamptz,
    sending_since timestamptz,
    accepted_at timestamptz,
    -- The message that failed outside the 24-hour window and that this one repeats as a template.
    replaces_id bigint REFERENCES message ON DELETE SET NULL,
    FOREIGN KEY (person_id, conversation_id) REFERENCES conversation (person_id, id) ON DELETE CASCADE,
    CHECK (
        CASE direction
            WHEN 'inbound' THEN twilio_sid IS NOT NULL AND status IN ('received', 'answered', 'dropped')
            WHEN 'outbound' THEN purpose IS NOT NULL AND status IN (
                'pending', 'sending', 'accepted', 'sent', 'delivered', 'read', 'undelivered', 'failed', 'refused'
            )
            ELSE false
        END
    )
);
CREATE UNIQUE INDEX message_sid ON message (twilio_sid) WHERE twilio_sid IS NOT NULL;
CREATE INDEX message_timeline ON message (conversation_id, id);
CREATE INDEX message_window ON message (person_id, created_at DESC) WHERE direction = 'inbound';
CREATE INDEX message_unanswered ON message (person_id, id) WHERE status = 'received';
CREATE INDEX message_outbox ON message (person_id, id) WHERE status IN ('pending', 'sending');
-- Nobody ever has two messages on their way at once, whoever sends.
CREATE UNIQUE INDEX message_in_flight ON message (person_id) WHERE status = 'sending';
CREATE INDEX message_dead ON message (id) WHERE status IN ('undelivered', 'failed', 'refused');
CREATE UNIQUE INDEX message_replaces ON message (replaces_id) WHERE replaces_id IS NOT NULL;
CREATE INDEX message_call ON message (call_id) WHERE call_id IS NOT NULL;

-- The three views keep the names and columns that reports of the first system read.

CREATE VIEW conversation_state AS
SELECT
    c.id,
    p.phone_number::varchar(20) AS phone_number,
    coalesce(k.client_name, p.name) AS client_name,
    c.agent_conversation_id AS elevenlabs_conversation_id,
    c.agent_id,
    k.batch_id,
    k.recipient_id,
    k.duration_s AS call_duration_secs,
    c.status,
    c.started_at,
    m.last_message_at,
    m.message_count
FROM conversation c
JOIN person p ON p.id = c.person_id
LEFT JOIN LATERAL (
    SELECT client_name, batch_id, recipient_id, duration_s
    FROM call WHERE conversation_id = c.id ORDER BY started_at DESC LIMIT 1
) k ON true
LEFT JOIN LATERAL (
    SELECT max(created_at) AS last_message_at, count(*)::integer AS message_count
    FROM message WHERE conversation_id = c.id
) m ON true;

CREATE VIEW conversation_messages AS
SELECT
    id,
    conversation_id,
    direction,
    content,
    twilio_sid AS twilio_message_id,
    coalesce(accepted_at, created_at) AS sent_at,
    status,
    error_code
FROM message;

CREATE VIEW conversations AS
SELECT
    coalesce(p.phone_number, k.phone_number) AS client_phone,
    coalesce(k.client_name, p.name) AS client_name,
    k.id AS elevenlabs_conversation_id,
    k.started_at AS call_started_at,
    k.ended_at AS call_ended_at,
    k.duration_s AS call_duration_seconds,
    k.transcript AS call_transcript,
    k.summary AS call_summary,
    coalesce(k.collected ->> 'intent', k.collected ->> 'intencion', k.collected ->> 'intención') AS call_intent,
    coalesce(k.sentiment, k.collected ->> 'sentiment', k.collected ->> 'sentimiento') AS call_sentiment,
    c.id AS whatsapp_conversation_id,
    c.started_at AS whatsapp_started_at,
    m.last_message_at AS whatsapp_last_message_at,
    coalesce(m.messages, '[]') AS whatsapp_messages,
    c.status AS whatsapp_status,
    jsonb_build_object(
        'agent_id', coalesce(c.agent_id, k.agent_id),
        'agent_conversation_id', c.agent_conversation_id,
        'outcome', k.outcome,
        'variables', k.variables,
        'collected', k.collected
    ) AS conversation_context,
    least(k.seen_at, c.started_at) AS created_at,
    greatest(k.updated_at, m.last_message_at, c.closed_at, c.started_at) AS updated_at
FROM call k
FULL JOIN conversation c ON c.id = k.conversation_id
LEFT JOIN person p ON p.id = coalesce(c.person_id, k.person_id)
LEFT JOIN LATERAL (
    SELECT
        max(created_at) AS last_message_at,
        jsonb_agg(
            jsonb_build_object(
                'id', id, 'direction', direction, 'content', content, 'at', created_at, 'status', status
            ) ORDER BY id
        ) AS messages
    FROM message WHERE conversation_id = c.id
) m ON true;
