-- When Twilio is next to be asked what the caller of an ended call has recorded, whose report may have been lost; null once
-- all of it is known, and for calls that did not end at the voicemail.
ALTER TABLE live_call ADD COLUMN seek_at timestamptz;
CREATE INDEX live_call_seek ON live_call (seek_at) WHERE seek_at IS NOT NULL;
