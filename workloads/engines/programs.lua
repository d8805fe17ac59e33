-- LuaJIT: `luajit programs.lua`. The programs of programs.h in Lua, on memory from its foreign function interface. Speaks as runner.c
-- does; it has no gauge, so that every round counts as calm.
local ffi, bit = require('ffi'), require('bit')
local bxor, bor, band, lshift, rshift = bit.bxor, bit.bor, bit.band, bit.lshift, bit.rshift

ffi.cdef [[
struct when { long seconds, nanoseconds; };
int clock_gettime(int clock, struct when *when);
int getpid(void);
]]

local MEMORY, SECOND, COPIED, COMPARED, DIFFERENT_AT = 16384, 8192, 4096, 1024, 400
local LOGARITHMS, PRIMES_BELOW, SWITCHED, MIXED, ENTRIES = 64, 300, 64, 256, 256
local memory, values = ffi.new('uint8_t[?]', MEMORY), ffi.new('uint64_t[?]', ENTRIES)
local words = ffi.cast('uint64_t *', memory)
local u64 = ffi.typeof('uint64_t')

local when = ffi.new('struct when')
local function clock(which)
  ffi.C.clock_gettime(which, when)
  return tonumber(when.seconds) * 1e9 + tonumber(when.nanoseconds)
end

-- The map's functions.
local function lookup(key)
  if key < ENTRIES then return values + key end
  return nil
end

local function update(key, value)
  if key >= ENTRIES then return -1 end
  values[key] = value
  return 0
end

local function value_of(key) return u64(key) * 2654435761ULL + 7ULL end

local programs = {}

function programs.simple() return 12345678ULL end

function programs.memory_a_plus_b() return words[0] + words[1] end

function programs.memcpy()
  for i = 0, COPIED - 1 do memory[SECOND + i] = memory[i] end
  return u64(memory[SECOND + COPIED - 1])
end

function programs.log2_int()
  local sum = 0
  for i = 0, LOGARITHMS - 1 do
    local x, log = words[i], 0
    if rshift(x, 32) ~= 0ULL then x = rshift(x, 32); log = log + 32 end
    if rshift(x, 16) ~= 0ULL then x = rshift(x, 16); log = log + 16 end
    if rshift(x, 8) ~= 0ULL then x = rshift(x, 8); log = log + 8 end
    if rshift(x, 4) ~= 0ULL then x = rshift(x, 4); log = log + 4 end
    if rshift(x, 2) ~= 0ULL then x = rshift(x, 2); log = log + 2 end
    if rshift(x, 1) ~= 0ULL then log = log + 1 end
    sum = sum + log
  end
  return u64(sum)
end

function programs.prime()
  local count = 0
  for i = 2, PRIMES_BELOW - 1 do
    local is_prime, j = 1, 2
    while j * j <= i do
      if i % j == 0 then is_prime = 0; break end
      j = j + 1
    end
    count = count + is_prime
  end
  return u64(count)
end

programs['strcmp'] = function()
  for i = 0, COMPARED - 1 do
    local a, b = memory[i], memory[SECOND + i]
    if a ~= b then return u64(a) - u64(b) end
    if a == 0 then return 0ULL end
  end
  return 0ULL
end

-- One function for each of the 64 ways.
local ways = {}
for way = 0, 63 do
  local base, four = way - way % 16, way - way % 4
  local k = u64(({ 5, 1033, 70001, 15 })[(four - base) / 4 + 1] + base)
  local thrice, odd, n = k * 3ULL, bor(k, 1ULL), u64(four)
  local steps = {
    function(state) return state + k end,
    function(state) return bxor(state, thrice) end,
    function(state) return state * odd + n end,
    function(state) return bor(lshift(state, 7), rshift(state, 57)) - k end,
  }
  ways[way] = steps[way % 4 + 1]
end

programs['switch'] = function()
  local state = 1ULL
  for i = 0, SWITCHED - 1 do state = ways[band(memory[i], 63)](state) end
  return state
end

function programs.map_lookup()
  local sum = 0ULL
  for key = 0, ENTRIES - 1 do
    local value = lookup(key)
    if value ~= nil then sum = sum + value[0] * u64(bor(key, 1)) end
  end
  return sum
end

function programs.map_update()
  local sum = 0ULL
  for key = 0, ENTRIES - 1 do
    if update(key, value_of(key)) == 0 then sum = sum + 1ULL end
  end
  return sum + lookup(ENTRIES - 1)[0]
end

local function mix(state, byte)
  state = bxor(state, byte) * 0x100000001b3ULL
  return bxor(state, rshift(state, 29))
end

function programs.bpf2bpf()
  local state = 0xcbf29ce484222325ULL
  for i = 0, MIXED - 1 do state = mix(state, u64(memory[i])) end
  return state
end

-- The inputs of inputs.c.
local function xorshift(state)
  return function()
    state = bxor(state, lshift(state, 13))
    state = bxor(state, rshift(state, 7))
    state = bxor(state, lshift(state, 17))
    return state
  end
end

local function fill_bytes()
  local next = xorshift(0x2545f4914f6cdd1dULL)
  for i = 0, MEMORY - 1 do memory[i] = tonumber(band(rshift(next(), 24), 255ULL)) end
end

local function fill_numbers()
  local next = xorshift(0x9e3779b97f4a7c15ULL)
  for i = 0, MEMORY / 8 - 1 do
    local number = next()
    words[i] = rshift(number, tonumber(band(next(), 63ULL)))
  end
end

local function fill_strings(differ)
  fill_bytes()
  for i = 0, COMPARED - 1 do
    memory[i] = memory[i] % 255 + 1
    memory[SECOND + i] = memory[i]
  end
  memory[COMPARED - 1], memory[SECOND + COMPARED - 1] = 0, 0
  if differ then memory[SECOND + DIFFERENT_AT] = bxor(memory[SECOND + DIFFERENT_AT], 0x55) end
end

local function fill(input)
  if input == 'same' or input == 'different' then fill_strings(input == 'different')
  elseif input == 'numbers' then fill_numbers()
  else fill_bytes() end
  words[MEMORY / 8 - 1] = 0
  for key = 0, ENTRIES - 1 do values[key] = value_of(key) end
end

local function hex(number)
  local bytes = {}
  for i = 0, 7 do bytes[i + 1] = ('%02x'):format(tonumber(band(rshift(number, 8 * i), 255ULL))) end
  return table.concat(bytes)
end

local function digest()
  local found = 0xcbf29ce484222325ULL
  for i = 0, MEMORY - 1 do found = bxor(found, u64(memory[i])) * 0x100000001b3ULL end
  return found
end

local function say(text, ...)
  io.stdout:write(text:format(...), '\n')
  io.stdout:flush()
end

local current, calm = nil, 0

local function many(program, calls)
  for _ = 1, calls do words[MEMORY / 8 - 1] = program() end
end

local function run(calls, wanted, most)
  local rounds, ones = {}, {}
  for i = 1, math.min(wanted, most) do
    local start = clock(4)
    many(current, calls)
    rounds[i], ones[i] = ('%.0f'):format(clock(4) - start), 1
  end
  say('DONE {"calls": %d, "hits": null, "result": "%s", "memory": "%s", "cpu_ns": %.0f, "core": %d, "clock": "CLOCK_MONOTONIC_RAW", ' ..
    '"rounds": [%s], "calm": [%s]}', calls * #rounds, hex(words[MEMORY / 8 - 1]), hex(digest()), clock(2), calm,
    table.concat(rounds, ', '), table.concat(ones, ', '))
end

say('READY {"pid": %d}', ffi.C.getpid())
for line in io.stdin:lines() do
  local name, input = line:match('^load (%S+) (%S+)$')
  local calls, wanted, most = line:match('^run (%d+) (%d+) (%d+)$')
  local limit = line:match('^calm (%d+)$')
  if line == 'quit' then break
  elseif name and not programs[name] then say('REFUSED {"message": "there is no such program"}')
  elseif name then
    -- traces of another program would be reused, or in the way: this one is compiled anew
    jit.flush()
    current = programs[name]
    fill(input)
    say('LOADED {"program": "%s", "engine": "luajit", "compile_ns": 0, "code_size": null}', name)
  elseif limit then calm = tonumber(limit); say('OK calm')
  elseif calls and current then run(tonumber(calls), tonumber(wanted), tonumber(most))
  else say('ERROR {"stage": "command", "message": "unknown command"}'); os.exit(3) end
end
