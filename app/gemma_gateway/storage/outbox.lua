-- Functions for scripts that put something into an outbox or take it out; see outbox.py.
--
-- due    sorted set: slot by the ms at which it is due
-- items  hash: slot, text (a JSON object with an id)

local function outbox_now()
  local time = redis.call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000)
end

-- An item takes the place of an earlier one in its slot, and waits where that one waited, so that
-- it never overtakes it.
local function outbox_put(due, items, now, slot, text)
  redis.call('HSET', items, slot, text)
  redis.call('ZADD', due, 'NX', now, slot)
end

-- Takes what is due; nobody else gets it before the claim is over (life in ms).
-- Returns slot, text of each
local function outbox_claim(due, items, life, most)
  local now, found = outbox_now(), {}
  for _, slot in ipairs(redis.call('ZRANGEBYSCORE', due, '-inf', now, 'LIMIT', 0, most)) do
    local text = redis.call('HGET', items, slot)
    if text then
      redis.call('ZADD', due, now + life, slot)
      found[#found + 1] = slot
      found[#found + 1] = text
    else
      redis.call('ZREM', due, slot)
    end
  end
  return found
end

-- What became of an item that was claimed: 'done', 'retry' (text to keep, pause in ms) or 'dead'
-- (text for the list of dead letters, how many are kept there).
-- Returns 1, or 0 when it was settled before, or another item has its slot: that one is due now.
local function outbox_settle(due, items, dead, slot, id, verdict, text, number)
  local held, now = redis.call('HGET', items, slot), outbox_now()
  if not held then return 0 end
  if cjson.decode(held).id ~= id then
    redis.call('ZADD', due, now, slot)
    return 0
  end
  if verdict == 'retry' then
    redis.call('HSET', items, slot, text)
    redis.call('ZADD', due, now + number, slot)
    return 1
  end
  redis.call('HDEL', items, slot)
  redis.call('ZREM', due, slot)
  if verdict == 'dead' then
    redis.call('LPUSH', dead, text)
    redis.call('LTRIM', dead, 0, number - 1)
  end
  return 1
end
