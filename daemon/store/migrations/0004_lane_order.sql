-- What repeats a piece of an answer goes where that piece stood, and what is held back is found without reading every message.

-- Of an answer or a fallback that repeats a failed one: the id of the first, by which its lane is ordered. Else null.
ALTER TABLE message ADD COLUMN place bigint;

DROP INDEX message_outbox;
CREATE INDEX message_outbox ON message (person_id, coalesce(place, id), id) WHERE status IN ('pending', 'sending');

-- What is held back with its campaign, and the results of its probes.
CREATE INDEX message_campaign_pending ON message (campaign, id) WHERE status = 'pending' AND campaign IS NOT NULL;
CREATE INDEX message_probe ON message (campaign, probe_round) WHERE probe_round IS NOT NULL;
