/* The victim's buffer, as the programs that read and write it know it. */
#pragma once

/* What it holds at the start: the first bytes are read at offsets 0..7, five at a time. */
#define BUFFER_TEXT "abcdefghijklmnop"
/* Bytes that one operation reads or writes. */
#define TRANSFER 5
