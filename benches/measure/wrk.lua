-- Prints what wrk measured as one line of JSON, under the names that ferrio-load uses.
function done(summary, latency, _)
  local errors = summary.errors
  io.write(string.format(
    '{"messages": %d, "seconds": %f, "latency_us": {"p50": %d, "p99": %d, "p99.9": %d}, ' ..
    '"errors": {"connect": %d, "read": %d, "write": %d, "timeout": %d, "status": %d}}\n',
    summary.requests, summary.duration / 1e6,
    latency:percentile(50), latency:percentile(99), latency:percentile(99.9),
    errors.connect, errors.read, errors.write, errors.timeout, errors.status))
end
