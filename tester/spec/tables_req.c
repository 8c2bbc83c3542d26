/* Requirements, breaches and faults: the rows of include/vhu/ as const tables. */
#include "spec/spec.h"

#include "charmap.h"
#include "tables.h"

/* How rows write masks of features. */
#define P(name) VHU_P(name)
#define V(name) VHU_V(name)

const struct vhu_req_row vhu_tab_req[VHU_REQ_MAX] = {
#define VHU_REQUIREMENT(zone, number, lvl, who, visible, ends, version, von, pon, voff, poff, vany, where,   \
			words, watch)                                                                        \
	[VHU_REQ_##zone##_##number] = {                                                                      \
		.req = VHU_REQ_##zone##_##number,                                                            \
		.id = #zone "-" #number,                                                                     \
		.area = #zone,                                                                               \
		.level = VHU_LEVEL_##lvl,                                                                    \
		.party = VHU_PARTY_##who,                                                                    \
		.seen = VHU_SEEN_##visible,                                                                  \
		.may_end = (ends) != 0,                                                                      \
		.since = VHU_SINCE_##version,                                                                \
		.v_on = (von),                                                                               \
		.p_on = (pon),                                                                               \
		.v_off = (voff),                                                                             \
		.p_off = (poff),                                                                             \
		.v_any = (vany),                                                                             \
		.section = (where),                                                                          \
		.text = (words),                                                                             \
		.how = (watch),                                                                              \
	},
#include <vhu/requirements.def>
};

#undef P
#undef V

const struct vhu_breach_row vhu_tab_breach[VHU_BREACH_MAX] = {
#define VHU_BREACH(id_name, area, number, words)                                                             \
	[VHU_BREACH_##id_name] = {.breach = VHU_BREACH_##id_name,                                            \
				  .name = #id_name,                                                          \
				  .req = VHU_REQ_##area##_##number,                                          \
				  .summary = (words)},
#include <vhu/breaches.def>
};

const enum vhu_req vhu_tab_breach_packed[VHU_BREACH_MAX] = {
#define VHU_BREACH(id_name, area, number, words)
#define VHU_BREACH_PACKED(id_name, number) [VHU_BREACH_##id_name] = VHU_REQ_PACKED_##number,
#include <vhu/breaches.def>
};

/* Whether a back-end can be seen to break it. */
#define CAN_SHOW(who, visible)                                                                               \
	(VHU_SEEN_##visible != VHU_SEEN_NO && VHU_PARTY_##who != VHU_PARTY_FRONT &&                          \
	 VHU_PARTY_##who != VHU_PARTY_DRIVER)
enum {
#define VHU_REQUIREMENT(zone, number, lvl, who, visible, ...)                                                \
	can_show_##zone##_##number = CAN_SHOW(who, visible),
#include <vhu/requirements.def>
};

/*
 * The list of a fault comes in parentheses: (R(HDR, 01), R(HDR, 09)). A fault that names what no back-end
 * can be seen to break does not compile.
 */
#define R(area, number)                                                                                      \
	(enum vhu_req)(VHU_REQ_##area##_##number +                                                           \
		       0 * sizeof(struct {                                                                   \
			       _Static_assert(can_show_##area##_##number,                                    \
					      #area "-" #number ": a fault can't show it");                  \
			       char c;                                                                       \
		       }))
#define UNPAREN(...)	__VA_ARGS__

#define VHU_FAULT(name, zone, list, words)                                                                   \
	_Static_assert(sizeof(#name) <= VHU_MAPPED_SIZE, "name of fault " #name);                            \
	static const char fault_id_##name[VHU_MAPPED_SIZE] = VHU_MAPPED(VHU_MAP_DASHED, #name);              \
	static const enum vhu_req fault_reqs_##name[] = {UNPAREN list};
#include <vhu/faults.def>

const struct vhu_fault_row vhu_tab_fault[] = {
#define VHU_FAULT(name, zone, list, words)                                                                   \
	{fault_id_##name, fault_reqs_##name, VHU_ARRAY_SIZE(fault_reqs_##name), #zone, (words)},
#include <vhu/faults.def>
	{NULL, NULL, 0, NULL, NULL},
};

const size_t vhu_tab_faults = VHU_ARRAY_SIZE(vhu_tab_fault) - 1;

/* Faults by their place; `none` is the end of the table. */
enum {
#define VHU_FAULT(name, ...) fault_at_##name,
#include <vhu/faults.def>
	fault_at_none
};
#define FAULT_ROW(name) (fault_at_##name == fault_at_none ? NULL : &vhu_tab_fault[fault_at_##name])

const struct vhu_bug_row vhu_tab_bug[] = {
#define VHU_REAL_BUG(nr, who, when, zone, where, words, id, name, reason)                                    \
	{(nr), (who), (when), #zone, (where), (words), (id), FAULT_ROW(name), (reason)},
#include <vhu/real_bugs.def>
	{0, NULL, 0, NULL, NULL, NULL, NULL, NULL, NULL},
};

const size_t vhu_tab_bugs = VHU_ARRAY_SIZE(vhu_tab_bug) - 1;
