-- The requests of one run of wrk: BENCH_METHOD, BENCH_PATH ("{id}" is one of BENCH_IDS ids), BENCH_BODY (none, create, search),
-- BENCH_MODE of searches and BENCH_KEY. Prints one line of JSON at the end.

local method = os.getenv("BENCH_METHOD")
local path = os.getenv("BENCH_PATH")
local kind = os.getenv("BENCH_BODY")
local mode = os.getenv("BENCH_MODE")
local ids = tonumber(os.getenv("BENCH_IDS"))
local run = os.getenv("BENCH_RUN")

local people = { "Ines", "Kofi", "Marta", "Jonas", "Ruth", "Tobias", "Amara", "Wei" }
local deeds = { "repaired", "postponed", "reviewed", "painted", "lost", "shipped", "measured", "forgot" }
local things = { "the barometer", "the billing migration", "a walnut cello", "the staging cluster", "the garden gate",
  "the tax return", "a sourdough starter", "the night train" }
local places = { "Lisbon", "the old harbour", "the basement", "Sapporo", "the archive", "the climbing hall", "Bergen", "the attic" }

local headers = { ["Authorization"] = "Bearer " .. os.getenv("BENCH_KEY"), ["Content-Type"] = "application/json" }
local number = 0

local function any(words)
  return words[math.random(#words)]
end

local function body()
  number = number + 1
  if kind == "create" then
    return string.format('{"content":"%s %s %s in %s (entry %s-%d).","tags":["work","planning"],"metadata":{"project":"billing"}}',
      any(people), any(deeds), any(things), any(places), run, number)
  elseif kind == "search" then
    return string.format('{"query":"what did %s do with %s in %s?","mode":"%s"}', any(people), any(things), any(places), mode)
  end
  return nil
end

function init(_)
  math.randomseed(7)
end

function request()
  local target = path:gsub("{id}", function() return tostring(math.random(ids)) end)
  return wrk.format(method, target, headers, body())
end

function done(summary, latency, _)
  local errors = summary.errors
  io.write(string.format('\n{"requests":%d,"seconds":%.6f,"p50_ms":%.3f,"p99_ms":%.3f,"failed":%d}\n',
    summary.requests, summary.duration / 1e6, latency:percentile(50) / 1e3, latency:percentile(99) / 1e3,
    errors.connect + errors.read + errors.write + errors.status + errors.timeout))
end
