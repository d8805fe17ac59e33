/* How many functions and programs there are at most. */
#pragma once

#define MOST_PROGRAMS 100
