/*
 * Names that differ from their row's token by a character mapping ("hdr-reply-bit" of
 * hdr_reply_bit, "blk" of BLK), made by the compiler: VHU_MAPPED(MAP, "text") is the initializer
 * of a char array of VHU_MAPPED_SIZE, MAP a macro from a character to a character.
 */
#pragma once

enum { VHU_MAPPED_SIZE = 64 };

#define VHU_MAPPED_1(map, s, i) ((i) < sizeof(s) ? (char)map((s)[(i) < sizeof(s) ? (i) : 0]) : '\0')
#define VHU_MAPPED_4(map, s, i)                                                                              \
	VHU_MAPPED_1(map, s, (i)), VHU_MAPPED_1(map, s, (i) + 1), VHU_MAPPED_1(map, s, (i) + 2),             \
		VHU_MAPPED_1(map, s, (i) + 3)
#define VHU_MAPPED_16(map, s, i)                                                                             \
	VHU_MAPPED_4(map, s, (i)), VHU_MAPPED_4(map, s, (i) + 4), VHU_MAPPED_4(map, s, (i) + 8),             \
		VHU_MAPPED_4(map, s, (i) + 12)
#define VHU_MAPPED(map, s)                                                                                   \
	{                                                                                                    \
		VHU_MAPPED_16(map, s, 0), VHU_MAPPED_16(map, s, 16), VHU_MAPPED_16(map, s, 32),              \
			VHU_MAPPED_16(map, s, 48)                                                            \
	}

#define VHU_MAP_LOWER(c)  ((c) >= 'A' && (c) <= 'Z' ? (c) - 'A' + 'a' : (c))
#define VHU_MAP_DASHED(c) ((c) == '_' ? '-' : (c))
