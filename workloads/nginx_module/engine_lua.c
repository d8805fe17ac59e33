/*
 * The rule in Lua, run by LuaJIT inside nginx: SCRIPT. A script gets the libraries that compute and none that reach outside: no ffi, no
 * files, no code of its own making.
 */
#include "gate.h"

#include <lauxlib.h>
#include <lua.h>
#include <luajit.h>
#include <lualib.h>
#include <stdio.h>
#include <string.h>

static lua_State *lua;
static int decision; /* reference of the function */

static const char *const FORBIDDEN[] = { "load", "loadstring", "loadfile", "dofile", "require", "module", "newproxy", "getfenv", "setfenv",
					 "collectgarbage", "print", "package" };

static void open_library(lua_CFunction opener, const char *name)
{
	lua_pushcfunction(lua, opener);
	lua_pushstring(lua, name);
	lua_call(lua, 1, 0);
}

/* Opening LuaJIT's libraries also makes some of them loadable: neither names nor loader remain. */
static void open_libraries(void)
{
	open_library(luaopen_base, "");
	open_library(luaopen_table, "table");
	open_library(luaopen_string, "string");
	open_library(luaopen_math, "math");
	for (size_t i = 0; i < sizeof(FORBIDDEN) / sizeof(*FORBIDDEN); i++) {
		lua_pushnil(lua);
		lua_setglobal(lua, FORBIDDEN[i]);
	}
	lua_getglobal(lua, "string");
	lua_pushnil(lua);
	lua_setfield(lua, -2, "dump");
	lua_pop(lua, 1);
}

/* What went wrong, without the directory that the script is in. */
static const char *wrong(void)
{
	const char *text = lua_tostring(lua, -1), *slash = text ? strrchr(text, '/') : NULL;

	return slash ? slash + 1 : text ?: "an error that is no text";
}

/* Its word for whether code is compiled: the global `jit` of a library that scripts do not get. */
static int compiles(void)
{
	int on;

	lua_pushcfunction(lua, luaopen_jit);
	lua_pushstring(lua, "jit");
	lua_call(lua, 1, 0);
	lua_getglobal(lua, "jit");
	lua_getfield(lua, -1, "status");
	lua_call(lua, 0, 1);
	on = lua_toboolean(lua, -1);
	lua_pop(lua, 2);
	lua_pushnil(lua);
	lua_setglobal(lua, "jit");
	return on;
}

static enum gate_opened open_rule(char *const *words, size_t n_words, struct gate_about *about)
{
	uint64_t start = gate_now();

	lua = n_words == 1 ? luaL_newstate() : NULL;
	if (!lua) {
		snprintf(about->wrong, sizeof(about->wrong), n_words == 1 ? "no memory for Lua" : "wanted: SCRIPT");
		return GATE_FAILED;
	}
	open_libraries();
	snprintf(about->engine, sizeof(about->engine), compiles() ? "luajit" : "luajit-interpreter");
	if (luaL_loadfile(lua, words[0]) || lua_pcall(lua, 0, 0, 0)) {
		snprintf(about->wrong, sizeof(about->wrong), "%s", wrong());
		return GATE_FAILED;
	}
	lua_getglobal(lua, "decide");
	decision = luaL_ref(lua, LUA_REGISTRYINDEX);
	about->compile_ns = gate_now() - start;
	snprintf(about->bounded_by, sizeof(about->bounded_by), "the language: strings and tables have bounds, nothing else is there");
	return GATE_OPEN;
}

static int set(const struct gate_rules *rules)
{
	int failed;

	lua_getglobal(lua, "set");
	for (uint32_t i = 0; i < rules->count; i++)
		lua_pushlstring(lua, (const char *)rules->rule[i].prefix, rules->rule[i].length);
	failed = lua_pcall(lua, (int)rules->count, 0, 0);
	if (failed)
		lua_pop(lua, 1);
	return failed ? -1 : 0;
}

static int decide(const uint8_t *path, size_t length)
{
	int passes = -1;

	lua_rawgeti(lua, LUA_REGISTRYINDEX, decision);
	lua_pushlstring(lua, (const char *)path, length < GATE_PATH ? length : GATE_PATH);
	if (!lua_pcall(lua, 1, 1, 0))
		passes = lua_toboolean(lua, -1);
	lua_pop(lua, 1);
	return passes;
}

static int count(struct gate_counters *found)
{
	lua_getglobal(lua, "count");
	if (lua_pcall(lua, 0, 2, 0)) {
		lua_pop(lua, 1);
		return -1;
	}
	*found = (struct gate_counters){ (uint64_t)lua_tonumber(lua, -2), (uint64_t)lua_tonumber(lua, -1) };
	lua_pop(lua, 2);
	return 0;
}

static int trespass(const uint8_t *target, uint8_t *found, char *said, size_t size)
{
	const char *path;
	int got = 0;

	lua_getglobal(lua, "trespass");
	lua_pushliteral(lua, "/path");
	path = lua_tostring(lua, -1);
	lua_pushnumber(lua, (double)(target - (const uint8_t *)path));
	lua_pushnumber(lua, (double)(uint64_t)target);
	if (lua_pcall(lua, 3, 2, 0)) {
		snprintf(said, size, "%s", wrong());
		lua_pop(lua, 1);
		return 0;
	}
	if (lua_isnumber(lua, -2)) {
		*found = (uint8_t)lua_tonumber(lua, -2);
		got = 1;
	}
	snprintf(said, size, "%s", got ? "nothing stopped it" : wrong());
	lua_pop(lua, 2);
	return got;
}

const struct gate_engine gate_engine = { open_rule, set, decide, count, trespass };
