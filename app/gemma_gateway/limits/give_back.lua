-- Takes what window.lua recorded at once, one request as a rule, out of its log (see there): those
-- after it move up, so that the log is as if it had never come. What isn't there (any more) changes
-- nothing, so a second copy of the call does no harm.
--
-- KEYS[1]  the log
-- ARGV     its time in microseconds, as window.lua told it; as how many requests it was recorded
--          (left out: as one)
-- Returns  1 when all of it was taken out.

local HEADER, SLOT = 24, 8
local key, time, count = KEYS[1], tonumber(ARGV[1]), tonumber(ARGV[2] or 1)
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
local gone = low - count -- those up to `low` have its time, if this one has
if gone < first or at(gone) ~= time then return 0 end

-- The ring is contiguous but for one seam, so this takes at most three steps.
local i = low
while i < total do
  local run = math.min(total - i, slots - i % slots, slots - (i - count) % slots)
  local moved = redis.call('GETRANGE', key, place(i), place(i) + run * SLOT - 1)
  redis.call('SETRANGE', key, place(i - count), moved)
  i = i + run
end

-- Slots that are free now are those of the oldest ones. What stood there had left every window
-- before it was written over, and is given back as times long ago.
total = total - count
i = math.max(0, total - slots)
while i < first do
  local run = math.min(first - i, slots - i % slots)
  redis.call('SETRANGE', key, place(i), string.rep(struct.pack('>d', 0), run))
  i = i + run
end
redis.call('SETRANGE', key, 0, struct.pack('>ddd', total, last, slots))
return 1
