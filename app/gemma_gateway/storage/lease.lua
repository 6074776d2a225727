-- Functions for scripts that take a lease or go by one; see lease.py.
--
-- lease  key that holds the token of the process that has it, and is gone when nobody has

local function lease_held(lease, token) return redis.call('GET', lease) == token end

-- Takes a lease that is free, keeps one that is ours (life in ms). Returns whether it is ours.
local function lease_take(lease, token, life)
  local holder = redis.call('GET', lease)
  if not holder then
    redis.call('SET', lease, token, 'PX', life)
  elseif holder == token then
    redis.call('PEXPIRE', lease, life)
  end
  return not holder or holder == token
end

-- Gives a lease up. Returns whether it was ours.
local function lease_release(lease, token)
  return lease_held(lease, token) and redis.call('DEL', lease) == 1
end
