/*
 * Programs that only compute, one a section; what they work on is on the stack or made on the way from a number in the context, so
 * that no compiler can do the work. Written so that the verifier can follow every loop.
 */
typedef unsigned char u8;
typedef unsigned int u32;
typedef unsigned long long u64;

#define PROGRAM(name) __attribute__((section("program/" #name), used)) u64 name(void *ctx)
#define SEED (*(volatile u32 *)ctx) /* always the same */
#define NO_UNROLL _Pragma("clang loop unroll(disable)")

PROGRAM(prime)
{
	u32 found = 0, from = SEED;

	NO_UNROLL for (u32 n = 3; n < 150; n += 2) {
		u32 prime = 1;

		NO_UNROLL for (u32 d = 3; d < 12; d += 2) {
			if ((n + from) % d == 0 && n != d) {
				prime = 0;
				break;
			}
		}
		found += prime;
	}
	return found;
}

PROGRAM(hash)
{
	u64 state = 0xcbf29ce484222325 + SEED;

	NO_UNROLL for (u32 i = 0; i < 512; i++) {
		state ^= i & 0xff;
		state *= 0x100000001b3;
	}
	return (u32)(state ^ state >> 32);
}

PROGRAM(copy)
{
	u64 from[24], to[24], sum = 0;

	NO_UNROLL for (u32 i = 0; i < 24; i++) {
		from[i] = i * 3 + SEED;
		to[i] = 0;
	}
	NO_UNROLL for (u32 round = 0; round < 20; round++) {
		NO_UNROLL for (u32 i = 0; i < 24; i++) {
			to[i] = from[i] + round;
		}
		sum += to[round];
	}
	return (u32)sum;
}

PROGRAM(bytes)
{
	u8 text[64];
	u32 found = 0;

	NO_UNROLL for (u32 i = 0; i < 64; i++)
		text[i] = (u8)(i * SEED);
	NO_UNROLL for (u32 wanted = 0; wanted < 16; wanted++) {
		u32 what = wanted * 13;

		NO_UNROLL for (u32 i = 0; i < 64; i++)
			found += text[i] == (u8)what;
	}
	return found;
}

PROGRAM(xorshift)
{
	u64 state = 88172645463325252 + SEED;

	NO_UNROLL for (u32 i = 0; i < 512; i++) {
		state ^= state << 13;
		state ^= state >> 7;
		state ^= state << 17;
	}
	return (u32)state;
}

PROGRAM(sort)
{
	u32 values[32], seed = SEED;

	NO_UNROLL for (u32 i = 0; i < 32; i++) {
		seed = seed * 1103515245 + 12345;
		values[i] = seed >> 16;
	}
	NO_UNROLL for (u32 round = 0; round < 31; round++) {
		NO_UNROLL for (u32 i = 0; i < 31; i++) {
			u32 a = values[i], b = values[i + 1];

			if (a > b) {
				values[i] = b;
				values[i + 1] = a;
			}
		}
	}
	return values[7];
}

PROGRAM(states)
{
	u32 state = 0, count = 0, seed = SEED;

	NO_UNROLL for (u32 i = 0; i < 400; i++) {
		u32 input;

		seed = seed * 1664525 + 1013904223;
		input = seed >> 30;
		if (state == 0)
			state = input == 3 ? 1 : 0;
		else if (state == 1)
			state = input ? 2 : 0;
		else if (state == 2)
			state = input > 1 ? 3 : 1;
		else
			count++, state = 0;
	}
	return count;
}

PROGRAM(crc)
{
	u32 crc = 0xffffffff - SEED;

	NO_UNROLL for (u32 i = 0; i < 48; i++) {
		crc ^= i;
		NO_UNROLL for (u32 bit = 0; bit < 8; bit++)
			crc = crc >> 1 ^ (crc & 1 ? 0xedb88320 : 0);
	}
	return crc;
}

PROGRAM(digits)
{
	u64 number = 0x123456789abcdef + SEED, sum = 0;

	NO_UNROLL for (u32 i = 0; i < 64; i++) {
		u64 rest = number + i * 0x1234567;

		NO_UNROLL for (u32 digit = 0; digit < 12; digit++) {
			sum += rest % 10;
			rest /= 10;
		}
	}
	return (u32)sum;
}
