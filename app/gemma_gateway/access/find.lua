-- The run-time key that a digest belongs to.
--
-- KEYS[1]  digests (hash: digest to key id)   KEYS[2]  keys (hash: key id to its record)
-- ARGV[1]  the digest, hex
-- Returns  the record, or nil when no key has this digest.
local id = redis.call('HGET', KEYS[1], ARGV[1])
return id and redis.call('HGET', KEYS[2], id)
