-- Takes the lease where it is free, keeps it where it is ours, tells our condition, and reads what is
-- known.
--
-- KEYS[1] lease   KEYS[2] alerts (hash)   KEYS[3] silences (hash)   KEYS[4] generation
-- KEYS[5] conditions (hash: token of a process, the ms at which it told its own and the text)
-- ARGV    token of this process, life of the lease in ms, a new generation, our condition as text
-- Returns whether we lead; whether the store was empty, so that it has our new generation; the
--         generation; alerts as field, text...; silences as field, text...; where we lead, the
--         conditions of those that told it within the life of the lease
-- Begins with the functions of storage/lease.lua: whether we lead and what is known belong together.
local leads = lease_take(KEYS[1], ARGV[1], ARGV[2])
local fresh = redis.call('SET', KEYS[4], ARGV[3], 'NX')
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('HSET', KEYS[5], ARGV[1], string.format('%.0f %s', now, ARGV[4]))
local conditions = {}
if leads then
  local told = redis.call('HGETALL', KEYS[5])
  for n = 1, #told, 2 do
    local at, text = string.match(told[n + 1], '^(%d+) (.*)$')
    if at and now - at <= tonumber(ARGV[2]) then
      conditions[#conditions + 1] = text
    else
      redis.call('HDEL', KEYS[5], told[n])
    end
  end
end
return {
  leads and 1 or 0,
  fresh and 1 or 0,
  redis.call('GET', KEYS[4]),
  redis.call('HGETALL', KEYS[2]),
  redis.call('HGETALL', KEYS[3]),
  conditions,
}
