-- Exact sliding windows over one log, decided and recorded in one atomic step.
--
-- KEYS[1]  the log: a string that is a ring of times.
--            0..23  header: requests recorded, latest time ever, slots of the ring
--            24..   slots of 8 bytes; request number i is in slot i mod slots
--          All numbers are big-endian doubles; times are microseconds of the server's clock.
-- ARGV     take (n: record as many requests, 1 as a rule, if every window has room for all of
--            them; at most the smallest limit; 0: only look),
--          slots wanted, seconds that the log lives after its last request,
--          then limit and seconds of each window.
-- Returns  {allowed, microseconds until every window has room for them, now in microseconds,
--           then for each window: requests in it, microseconds until its oldest one leaves}
--
-- A ring in a string has no trimming: the request that is `limit` ago decides when there is room
-- for one, and counting is a binary search. O(log n) with 8 bytes a request.

local HEADER, SLOT, NEAR = 24, 8, 1048
local key = KEYS[1]
local take, wanted, life = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local clock = redis.call('TIME')
local now = tonumber(clock[1]) * 1000000 + tonumber(clock[2])

local near = redis.call('GETRANGE', key, 0, NEAR - 1) -- the whole ring, if it is small
local total, last, slots = 0, 0, wanted
if #near >= HEADER then
  total, last, slots = struct.unpack('>ddd', near)
  if last > now + life * 1000000 then
    -- The clock was put back by more than the log's life: its times mean nothing any more.
    total, last, slots = 0, 0, wanted
    if take > 0 then redis.call('DEL', key) end
  else
    now = math.max(now, last) -- a clock put back a little stands still
  end
end

if take > 0 and slots < wanted then
  -- A larger limit than before: lay the ring out anew, oldest first. Rings only grow.
  local ring = redis.call('GETRANGE', key, HEADER, -1)
  if total > slots then
    local cut = (total % slots) * SLOT
    ring = string.sub(ring, cut + 1) .. string.sub(ring, 1, cut)
    total = slots
  end
  slots = wanted
  near = struct.pack('>ddd', total, last, slots) .. ring
  redis.call('SET', key, near)
end

local function at(i)
  local offset = HEADER + (i % slots) * SLOT
  if offset + SLOT <= NEAR then
    return (struct.unpack('>d', near, offset + 1))
  end
  return (struct.unpack('>d', redis.call('GETRANGE', key, offset, offset + SLOT - 1)))
end

local first = math.max(0, total - slots)
-- The number of the oldest request after `cutoff`.
local function oldest(cutoff)
  if total == first or last <= cutoff then return total end
  if at(first) > cutoff then return first end
  local out, inside = first, total -- the latest one may have been given back: `last` isn't its time
  while inside - out > 1 do
    local middle = math.floor((out + inside) / 2)
    if at(middle) > cutoff then inside = middle else out = middle end
  end
  return inside
end

local reply, more = {1, 0, now}, take > 0 and take or 1
for n = 4, #ARGV, 2 do
  local limit, span = tonumber(ARGV[n]), tonumber(ARGV[n + 1]) * 1000000
  local begin = oldest(now - span)
  local count = total - begin
  if count + more > limit then
    reply[1] = 0
    reply[2] = math.max(reply[2], at(total + more - 1 - limit) + span - now)
  end
  reply[n] = count
  reply[n + 1] = count > 0 and at(begin) + span - now or 0
end

if take > 0 and reply[1] == 1 then
  local slot, times = total % slots, struct.pack('>d', now)
  local head = struct.pack('>ddd', total + take, now, slots)
  if take > 1 then
    -- What doesn't fit before the ring's seam stands at its beginning, right behind the header.
    local fit = (slots - slot) * SLOT
    times = string.rep(times, take)
    head, times = head .. string.sub(times, fit + 1), string.sub(times, 1, fit)
  end
  redis.call('SETRANGE', key, HEADER + slot * SLOT, times)
  redis.call('SETRANGE', key, 0, head)
  redis.call('EXPIRE', key, life)
  for n = 4, #ARGV, 2 do
    if reply[n] == 0 then reply[n + 1] = tonumber(ARGV[n + 1]) * 1000000 end
    reply[n] = reply[n] + take
  end
end
return reply
