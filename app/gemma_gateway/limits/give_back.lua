-- Takes one admitted request out of the log that window.lua keeps (see there): those after it move
-- up, so that the log is as if it had never come. A request that isn't there (any more) changes
-- nothing, so a second copy of the call does no harm.
--
-- KEYS[1]  the log
-- ARGV[1]  the request's time in microseconds, as window.lua told it
-- Returns  1 when it was taken out.

local HEADER, SLOT = 24, 8
local key, time = KEYS[1], tonumber(ARGV[1])
local head = redis.call('GETRANGE', key, 0, HEADER - 1)
if #head < HEADER then return 0 end
local total, last, slots = struct.unpack('>ddd', head)
local first = math.max(0, total - slots)

local function place(i) return HEADER + (i % slots) * SLOT end
local function at(i)
  return (struct.unpack('>d', redis.call('GETRANGE', key, place(i), place(i) + SLOT - 1)))
end

local low, high = first, total -- the first request after `time` is between them
while low < high do
  local middle = math.floor((low + high) / 2)
  if at(middle) > time then high = middle else low = middle + 1 end
end
local gone = low - 1
if gone < first or at(gone) ~= time then return 0 end

-- The ring is contiguous but for one seam, so this takes at most three steps.
local i = gone + 1
while i < total do
  local run = math.min(total - i, slots - i % slots, slots - (i - 1) % slots)
  local moved = redis.call('GETRANGE', key, place(i), place(i) + run * SLOT - 1)
  redis.call('SETRANGE', key, place(i - 1), moved)
  i = i + run
end

total = total - 1
if total >= slots then
  -- The slot that is free now is the oldest one's. What stood there had left every window before
  -- it was written over, and is given back as a time long ago.
  redis.call('SETRANGE', key, place(total), struct.pack('>d', 0))
end
redis.call('SETRANGE', key, 0, struct.pack('>ddd', total, last, slots))
return 1
