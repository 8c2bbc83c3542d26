/* Connections and the target's process: connect, close, reconnect, target; and assert, note. */
#include <signal.h>
#include <string.h>

#include "internal.h"
#include "plan/script.h"

static const uint64_t growth_max = UINT64_C(1) << 40; /* bytes */

static void get_profile(struct compile *c, const struct node *n, struct vhu_step *step)
{
	struct node profile = NODE_GET(n, "profile");

	if (profile.json && vhu_profile_check(c, &profile))
		step->reconnect.profile = vhu_plan_text(c, json_string_value(profile.json));
}

void vhu_verb_connect(struct compile *c, const struct node *n, struct vhu_step *step)
{
	struct node connect = NODE_GET(n, "connect");
	const char *name = vhu_get_text(c, &connect, "a connection's name");
	int i = name ? vhu_case_conn_find(c, name) : -1;

	step->reconnect.state = (enum vhu_state)vhu_get_word(n, "to", vhu_words_state, VHU_STATE_CONNECTED);
	get_profile(c, n, step);
	if (!name)
		return;
	if (i < 0 && c->n_conns == LIMIT_CONNS) {
		vhu_diag(c->report, connect.path, "more than %d connections", LIMIT_CONNS);
		return;
	}
	if (i < 0) {
		i = (int)c->n_conns++;
		c->conns[i] = name;
	}
	step->conn = (unsigned)i;
}

void vhu_verb_close(struct compile *c, const struct node *n, struct vhu_step *step)
{
	struct node expect = NODE_GET(n, "expect");

	switch (vhu_get_word(n, "close", vhu_words_close, 0)) {
	case 0:
		step->close.main = true;
		break;
	case 1:
		step->close.backend = true;
		break;
	case 2:
		step->close.main = step->close.backend = true;
		break;
	default:
		step->close.write_side = true;
		break;
	}
	if (expect.json && (!step->close.write_side || step->expect != VHU_OUT_CLOSES))
		vhu_diag_key(c->report, expect.path,
			     "'expect' goes with \"close\": \"write\", and is \"closes\"");
}

static void get_base(struct compile *c, const struct node *n, struct vhu_step_reconnect *r)
{
	struct node base = NODE_GET(n, "base");
	int word = vhu_get_word(n, "base", vhu_words_base, -1);

	r->base_from = word >= 0 ? (enum vhu_base_from)word : VHU_BASE_USED;
	if (word >= 0 || !base.json)
		return;
	r->base_from = VHU_BASE_VALUE;
	vhu_get_value(c, &base, VHU_NS_NONE, &r->base);
}

void vhu_verb_reconnect(struct compile *c, const struct node *n, struct vhu_step *step)
{
	struct vhu_step_reconnect *r = &step->reconnect;
	struct node keep = NODE_GET(n, "keep"), features = NODE_GET(n, "features"),
		    base = NODE_GET(n, "base");
	uint64_t named;

	r->state = (enum vhu_state)vhu_get_word(n, "reconnect", vhu_words_state, VHU_STATE_CONNECTED);
	for (size_t i = 0; i < json_array_size(keep.json); i++)
		r->keep |= UINT32_C(1)
			   << vhu_word_index(vhu_words_keep, json_string_value(json_array_get(keep.json, i)));
	if ((r->keep & VHU_KEEP_RINGS) && !(r->keep & VHU_KEEP_MEMORY))
		vhu_diag(c->report, keep.path, "kept rings lie in memory: keep that, too");
	if (base.json && !(r->keep & VHU_KEEP_RINGS))
		vhu_diag_key(c->report, base.path,
			     "'base' speaks of kept rings: \"keep\": [\"memory\", \"rings\"] is missing");
	get_base(c, n, r);
	r->features_given = features.json;
	if (features.json && vhu_get_names(c, &features, VHU_NS_VIRTIO, &named))
		r->features = vhu_plan_negotiate_named(c, named);
	r->no_status = !vhu_get_bool(n, "status", true);
	get_profile(c, n, step);
}

void vhu_verb_phase(struct compile *c, const struct node *n, struct vhu_step *step)
{
	struct node pairs = NODE_GET(n, "pairs"), rings = NODE_GET(n, "rings"), value = NODE_GET(n, "value");
	struct vhu_step_phase *p = &step->phase;
	uint64_t number = 0;

	p->phase = (enum vhu_phase_word)vhu_get_word(n, "phase", vhu_words_phase, 0);
	if (pairs.json &&
	    vhu_get_count(c, &pairs, "the number of pairs", 1, VHU_LAYOUT_RINGS_MAX / 2, &number))
		p->pairs = (unsigned)number;
	if (rings.json &&
	    vhu_get_count(c, &rings, "the number of rings", 1, VHU_LAYOUT_RINGS_MAX, &number))
		p->rings = (unsigned)number;
	p->value = (uint8_t)json_integer_value(value.json);
	if (p->phase == VHU_DO_PHASE_SWITCH && p->pairs == 0)
		vhu_diag(c->report, n->path, "'pairs' is missing: how many the guest uses from now on");
	if (rings.json && p->phase != VHU_DO_PHASE_START)
		vhu_diag_key(c->report, rings.path, "'rings' goes with \"phase\": \"start\"");
	if (!value.json != (p->phase != VHU_DO_PHASE_WRITE_CONFIG))
		vhu_diag_key(c->report, n->path, "'value' goes with \"phase\": \"write-config\"");
	if (!vhu_script_has_phase(c->plan->profile, p->phase))
		vhu_plan_skip(c, "the persona '%s' has no phase '%s'", c->plan->profile,
			      vhu_words_phase[p->phase]);
}

static void get_growth(struct compile *c, const struct node *n, struct vhu_step *step)
{
	struct node by = NODE_GET(n, "by");
	bool grows = step->target.op == VHU_TARGET_GROW;

	if (!by.json != !grows)
		vhu_diag_key(c->report, n->path, "'by' goes with \"target\": \"grow\": how many bytes");
	if (!grows || !by.json || !vhu_get_count(c, &by, "the bytes", 1, growth_max, &step->target.by))
		return;
	if (step->target.by % VHU_C_SECTOR_SIZE)
		vhu_diag(c->report, by.path, "a disk grows by sectors of %d bytes", VHU_C_SECTOR_SIZE);
	if (c->facts.known && c->facts.spawn && !c->facts.image)
		vhu_plan_skip(c, "needs a disk that we made: {image} in the command of --spawn");
}

void vhu_verb_target(struct compile *c, const struct node *n, struct vhu_step *step)
{
	static const int signals[] = {SIGKILL, SIGTERM, SIGINT, SIGABRT};
	struct node signal = NODE_GET(n, "signal");

	step->target.op = (enum vhu_target_op)vhu_get_word(n, "target", vhu_words_target, 0);
	step->target.signal = signals[vhu_get_word(n, "signal", vhu_words_signal, 0)];
	if (signal.json && step->target.op != VHU_TARGET_KILL)
		vhu_diag_key(c->report, signal.path, "'signal' goes with \"target\": \"kill\"");
	get_growth(c, n, step);
	if (!c->needs_spawn)
		vhu_diag(c->report, n->path,
			 "only a process of ours obeys 'target': \"needs\": {\"spawn\": true} is missing");
}

void vhu_verb_program(struct compile *c, const struct node *n, struct vhu_step *step)
{
	struct node expect = NODE_GET(n, "expect");
	enum vhu_program_op op = (enum vhu_program_op)vhu_get_word(n, "program", vhu_words_program, 0);
	bool starts = op >= VHU_DO_PROGRAM_SOCKET_PATH && op <= VHU_DO_PROGRAM_AGAIN;

	step->program.op = op;
	if (expect.json && (!starts || (step->expect & ~(uint32_t)(VHU_OUT_ALIVE | VHU_OUT_DEAD))))
		vhu_diag_key(c->report, expect.path,
			     "'expect' goes with a start of the program: alive (it serves), dead (it "
			     "refuses)");
	if (!c->needs_spawn)
		vhu_diag(c->report, n->path,
			 "only a program of ours is started: \"needs\": {\"spawn\": true} is missing");
}

/* --- assert, note
 * ------------------------------------------------------------------------------------------- */

static void put_operand(struct vhu_buf *out, json_t *json)
{
	if (json_is_string(json)) {
		vhu_buf_puts(out, json_string_value(json));
		return;
	}
	if (!json_is_array(json)) {
		vhu_buf_printf(out, "%lld", (long long)json_integer_value(json));
		return;
	}
	for (size_t i = 0; i < json_array_size(json); i++) {
		const char *name = json_string_value(json_array_get(json, i));

		vhu_buf_printf(out, "%s%s", i ? " | " : "", name ? name : "?");
	}
}

void vhu_verb_assert(struct compile *c, const struct node *n, struct vhu_step *step)
{
	struct vhu_step_assert *a = &step->assertion;
	struct node claim = NODE_GET(n, "assert"), left = NODE_AT(&claim, 0), op = NODE_AT(&claim, 1),
		    right = NODE_AT(&claim, 2);
	struct node says = NODE_GET(n, "says");
	const char *word = json_string_value(op.json);
	int i = word ? vhu_word_index(vhu_words_cmp, word) : -1;
	struct vhu_buf text = {0};
	char near[HINT_CAP] = "";

	if (i < 0)
		vhu_diag(c->report, op.path, "expected an operator: ==, !=, <, <=, >, >=, has or lacks%s",
			 word ? vhu_hint_word(near, word, vhu_words_cmp) : "");
	a->op = (enum vhu_cmp)VHU_MAX(i, 0);
	vhu_get_value(c, &left, VHU_NS_NONE, &a->a);
	vhu_get_value(c, &right, VHU_NS_NONE, &a->b);
	put_operand(&text, left.json);
	vhu_buf_printf(&text, " %s ", word ? word : "?");
	put_operand(&text, right.json);
	a->text = vhu_plan_text(c, vhu_buf_text(&text));
	c->oom |= text.failed;
	vhu_buf_done(&text);
	if (says.json)
		a->says = vhu_plan_text(c, json_string_value(says.json));
}

void vhu_verb_note(struct compile *c, const struct node *n, struct vhu_step *step)
{
	/* get_common took it. */
}
