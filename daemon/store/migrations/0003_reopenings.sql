-- Templates that ask a person to write are messages of their own (purpose 'reopening'); what they ask for waits behind them.

-- Of a reopening: the person's newest message when it was made. A newer one is the answer to it, or was on its way then.
ALTER TABLE message ADD COLUMN heard_at timestamptz;

DROP INDEX message_reopening;
CREATE INDEX message_reopening ON message (person_id) WHERE purpose = 'reopening';
