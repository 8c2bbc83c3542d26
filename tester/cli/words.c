#include "cli/words.h"

const char *vhu_party_words(enum vhu_party p)
{
	switch (p) {
	case VHU_PARTY_BACK:
		return "the back-end";
	case VHU_PARTY_FRONT:
		return "the front-end";
	case VHU_PARTY_BOTH:
		return "both sides";
	case VHU_PARTY_DEVICE:
		return "the device (in the back-end)";
	case VHU_PARTY_DRIVER:
		return "the driver (in the guest)";
	}
	return "";
}

const char *vhu_since_words(enum vhu_since s)
{
	switch (s) {
	case VHU_SINCE_ANY:
		return "every version";
	case VHU_SINCE_V7_2:
		return "7.2";
	case VHU_SINCE_V10_2:
		return "10.2";
	case VHU_SINCE_V11_1:
		return "11.1";
	case VHU_SINCE_PENDING:
		return "not released yet";
	}
	return "";
}

const char *vhu_seen_words(enum vhu_seen s)
{
	switch (s) {
	case VHU_SEEN_YES:
		return "yes";
	case VHU_SEEN_PARTIAL:
		return "partly";
	case VHU_SEEN_NO:
		return "no";
	}
	return "";
}
