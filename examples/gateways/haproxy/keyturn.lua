-- Asks Keyturn whether a request may pass. HAProxy has no request of its own for that, so it is made here.
--
--     http-request lua.keyturn "scope=read"
--
-- sets txn.keyturn_answer: 200 when the request may pass, otherwise the status to answer with. Nothing else lets it pass:
-- where this fails there is no answer, and haproxy.cfg makes a 503 of that.

local AUTHORIZE = "http://127.0.0.1:8700/v1/authorize"
local TIMEOUT = 1000 -- milliseconds for each attempt; haproxy makes four

-- The key that this gateway proves itself with, from the environment of haproxy.
local GATEWAY_KEY = os.getenv("KEYTURN_GATEWAY_KEY")
if not GATEWAY_KEY then
    error("KEYTURN_GATEWAY_KEY is not set")
end

-- Statuses that are the client's business, and whether a code of Keyturn's makes them so. What begins with gateway_ is
-- wrong with this gateway.
local PASSED_ON = { [401] = true, [403] = true, [429] = true }
local CLIENTS_OWN = { two_credentials = true, duplicate_header = true }

-- To the application: who it is.
local ABOUT = { "key-id", "version", "owner", "scope", "permissions", "as-of" }

-- To the client.
local FIELDS = {
    keyturn_challenge = "www-authenticate",
    keyturn_retry_after = "retry-after",
    keyturn_ratelimit = "ratelimit",
    keyturn_ratelimit_policy = "ratelimit-policy",
}

local function first(headers, name)
    return headers and headers[name] and headers[name][0]
end

local function answer_to(status, code)
    if status == 200 then
        return 200
    elseif code:sub(1, 8) == "gateway_" then
        return 503
    elseif PASSED_ON[status] or (status == 400 and CLIENTS_OWN[code]) then
        return status
    end
    return 503
end

core.register_action("keyturn", { "http-req" }, function(txn, require)
    local sent = txn.http:req_get_headers()
    local reply = core.httpclient():get({
        url = AUTHORIZE,
        timeout = TIMEOUT,
        headers = {
            ["keyturn-gateway-key"] = { GATEWAY_KEY },
            ["keyturn-require"] = { require },
            ["x-forwarded-for"] = { txn.sf:src() }, -- Keyturn believes it with KEYTURN_TRUSTED_PROXIES=127.0.0.1
            -- As often as the client sent them: Keyturn refuses two.
            ["authorization"] = sent["authorization"],
            ["x-api-key"] = sent["x-api-key"],
        },
    })
    local code = first(reply.headers, "x-keyturn-code") or "unavailable"
    local answer = answer_to(reply.status, code)
    txn:set_var("txn.keyturn_code", answer == 503 and "unavailable" or code)
    if answer ~= 503 then
        for variable, field in pairs(FIELDS) do
            local value = first(reply.headers, field)
            if value then
                txn:set_var("txn." .. variable, value)
            end
        end
    end
    if answer == 200 then
        for _, name in ipairs(ABOUT) do
            local value = first(reply.headers, "x-keyturn-" .. name)
            if value then
                txn.http:req_set_header("X-Keyturn-" .. name, value)
            end
        end
    end
    txn:set_var("txn.keyturn_answer", tostring(answer))
end, 1)
