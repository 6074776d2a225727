-- Takes the lease where it is free, keeps it where it is ours, and reads what is known.
--
-- KEYS[1] lease   KEYS[2] alerts (hash)   KEYS[3] silences (hash)   KEYS[4] generation
-- ARGV    token of this process, life of the lease in ms, a new generation
-- Returns whether we lead; whether the store was empty, so that it has our new generation; the
--         generation; alerts as field, text...; silences as field, text...
local holder = redis.call('GET', KEYS[1])
if not holder then
  redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
  holder = ARGV[1]
elseif holder == ARGV[1] then
  redis.call('PEXPIRE', KEYS[1], ARGV[2])
end
local fresh = redis.call('SET', KEYS[4], ARGV[3], 'NX')
return {
  holder == ARGV[1] and 1 or 0,
  fresh and 1 or 0,
  redis.call('GET', KEYS[4]),
  redis.call('HGETALL', KEYS[2]),
  redis.call('HGETALL', KEYS[3]),
}
