-- Takes the lease where it is free, keeps it where it is ours, and reads what is known.
--
-- KEYS[1] lease   KEYS[2] alerts (hash)   KEYS[3] silences (hash)   KEYS[4] generation
-- ARGV    token of this process, life of the lease in ms, a new generation
-- Returns whether we lead; whether the store was empty, so that it has our new generation; the
--         generation; alerts as field, text...; silences as field, text...
-- Begins with the functions of storage/lease.lua: whether we lead and what is known belong together.
local leads = lease_take(KEYS[1], ARGV[1], ARGV[2])
local fresh = redis.call('SET', KEYS[4], ARGV[3], 'NX')
return {
  leads and 1 or 0,
  fresh and 1 or 0,
  redis.call('GET', KEYS[4]),
  redis.call('HGETALL', KEYS[2]),
  redis.call('HGETALL', KEYS[3]),
}
