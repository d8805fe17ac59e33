-- The rule in Lua. Strings and tables have bounds; nothing else is within its reach.
local accepted, rejected, rules = 0, 0, {}
local sub = string.sub

function set(...)
   rules = { ... }
end

function decide(path)
   for i = 1, #rules do
      local prefix = rules[i]
      if sub(path, 1, #prefix) == prefix then
         accepted = accepted + 1
         return true
      end
   end
   rejected = rejected + 1
   return false
end

function count()
   return accepted, rejected
end

-- The bad rule: tries all that leads to an address, and returns the byte there, or nothing and what stopped it.
function trespass(path, distance, address)
   local past = string.byte(path, distance) or string.byte(path, #path + 2)
   if past then
      return past
   end
   for _, way in ipairs({ "ffi", "debug", "io", "os", "require", "package", "loadstring", "load", "dofile", "loadfile", "string.dump" }) do
      local place, name = _G, way
      if way == "string.dump" then
         place, name = string, "dump"
      end
      if place[name] then
         -- with any of these, somebody could get at memory: say so as if it had been done
         return type(place[name]) == "table" and place[name].cast and place[name].cast("const uint8_t *", address)[0] or 0
      end
   end
   local done, why = pcall(function() return ffi.cast("const uint8_t *", address)[0] end)
   if done then
      return why
   end
   return nil, why
end
