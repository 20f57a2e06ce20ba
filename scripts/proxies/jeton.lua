-- Asks Jeton who sends a request. HAProxy has no such directive; this is the action
--
--   http-request lua.jeton DEMANDS
--
-- where DEMANDS is a query for /_forward_auth: role=NAME, privilege=NAME, several with &, or - for none.
-- It sets txn.jeton_status to 200, 401 or 403, and with 200 txn.jeton_user, ..._roles, ..._realm,
-- ..._email, ..._full_name and ..._scope, with 401 txn.jeton_challenge. Any other status, or none,
-- means that it is not known: treat it as an outage.

local socket = "unix@/run/haproxy/jeton.sock"
local timeout = 15000 -- ms
local identity = {"user", "roles", "realm", "email", "full-name", "scope"}

local function first(headers, name)
  local lines = headers and headers[name]
  return lines and lines[0] or ""
end

core.register_action("jeton", {"http-req"}, function(txn, demands)
  -- Nothing of the client's but its credentials. Several lines of them are Jeton's to refuse.
  local credentials = {}
  for _, line in pairs(txn.http:req_get_headers()["authorization"] or {}) do
    table.insert(credentials, line)
  end
  local url = "http://jeton/_forward_auth"
  if demands ~= "-" then
    url = url .. "?" .. demands
  end
  local answer = core.httpclient():get({
    url = url, dst = socket, timeout = timeout, headers = {authorization = credentials},
  })
  if not answer or not answer.status then
    return
  end
  if answer.status == 200 then
    for _, name in ipairs(identity) do
      txn:set_var("txn.jeton_" .. name:gsub("-", "_"), first(answer.headers, "x-auth-" .. name))
    end
  elseif answer.status == 401 then
    txn:set_var("txn.jeton_challenge", first(answer.headers, "www-authenticate"))
  end
  txn:set_var("txn.jeton_status", answer.status)
end, 1)
