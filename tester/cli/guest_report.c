/* What came of a load, for people and as JSON. */
#include <errno.h>
#include <string.h>

#include <jansson.h>

#include "cli/guest.h"
#include "engine/load.h"

static const double quantiles[] = {0.5, 0.9, 0.99, 0.999};

uint64_t vhu_guest_errors(const struct vhu_guest_errors *e)
{
	return e->io + e->lost + e->duplicated + e->torn + e->stale + e->misplaced + e->ring;
}

static double seconds(uint64_t ns)
{
	return (double)ns / 1e9;
}

static double per_second(uint64_t n, uint64_t ns)
{
	return ns ? (double)n / seconds(ns) : 0;
}

/* --- text ------------------------------------------------------------------------------------ */

static void add_time(struct vhu_buf *out, const char *name, uint64_t ns)
{
	if (ns < 10000000)
		vhu_buf_printf(out, "  %s %.1f us", name, (double)ns / 1e3);
	else
		vhu_buf_printf(out, "  %s %.1f ms", name, (double)ns / 1e6);
}

static void add_times(struct vhu_buf *out, const char *what, const struct vhu_histogram *h)
{
	static const char *const names[] = {"p50", "p90", "p99", "p99.9"};

	if (!h->n)
		return;
	vhu_buf_puts(out, what);
	add_time(out, "min", h->min);
	for (size_t i = 0; i < VHU_ARRAY_SIZE(quantiles); i++)
		add_time(out, names[i], vhu_histogram_at(h, quantiles[i]));
	add_time(out, "max", h->max);
	vhu_buf_puts(out, "\n");
}

static void add_findings(struct vhu_buf *out, const struct vhu_result *r)
{
	for (size_t i = 0; i < r->n_findings; i++) {
		const struct vhu_finding *f = &r->findings[i];

		vhu_buf_printf(out, "%s %s: %s\n", vhu_verdict_name(r->grades[i]), vhu_req_row(f->req)->id,
			       f->summary);
		if (f->accepted[0])
			vhu_buf_printf(out, "     accepted: %s\n", f->accepted);
		if (f->actual[0])
			vhu_buf_printf(out, "     came: %s\n", f->actual);
	}
	if (r->dropped_findings)
		vhu_buf_printf(out, "     and %zu more\n", r->dropped_findings);
	if (r->reason)
		vhu_buf_printf(out, "%s: %s\n", vhu_verdict_name(r->verdict), r->reason);
	if (r->target_stderr && r->target_died)
		vhu_buf_printf(out, "its last output:\n%s\n", r->target_stderr);
}

static void add_disturbances(struct vhu_buf *out, const struct vhu_load_result *r)
{
	if (r->crashes)
		vhu_buf_printf(out, "%llu crashes, %llu requests recovered%s\n",
			       (unsigned long long)r->crashes, (unsigned long long)r->sum.recovered,
			       r->inflight ? "" : " (sent again: the back-end keeps none in flight)");
	if (r->idle_kills)
		vhu_buf_printf(out, "%llu of them with nothing in flight\n",
			       (unsigned long long)r->idle_kills);
	add_times(out, "recovery", &r->recovery);
	if (r->reconnects)
		vhu_buf_printf(out, "%llu reconnects\n", (unsigned long long)r->reconnects);
	if (!r->handovers)
		return;
	vhu_buf_puts(out, "handed over to the second back-end; dirty log: ");
	if (r->logged)
		vhu_buf_printf(out, "%llu pages judged", (unsigned long long)r->logged_pages);
	else
		vhu_buf_puts(out, "not offered");
	if (r->state_bytes)
		vhu_buf_printf(out, "; device state: %zu bytes\n", r->state_bytes);
	else
		vhu_buf_puts(out, "; device state: not offered by both\n");
}

void vhu_guest_report_text(const struct vhu_guest_cli *o, const struct vhu_load_result *r,
			   struct vhu_buf *out)
{
	const struct vhu_guest_errors *e = &r->sum.errors;
	double millions = (double)r->sum.ios / 1e6;

	/* It came to nothing before there were rings. */
	if (!r->queues) {
		add_findings(out, &r->result);
		return;
	}
	vhu_buf_printf(out, "%s, %llu bytes, depth %llu, %u queue%s, %s ring%s of %llu, guest memory: %s\n",
		       vhu_guest_rw_name(o->rw), (unsigned long long)o->bs, (unsigned long long)o->depth,
		       r->queues, r->queues == 1 ? "" : "s", o->packed ? "packed" : "split",
		       r->queues == 1 ? "" : "s", (unsigned long long)o->ring_size, r->memory);
	if (o->target.memory == VHU_BACKING_AUTO && !strcmp(r->memory, "memfd"))
		vhu_buf_puts(out, "no huge pages are free: plain memory is slower for most back-ends\n");
	vhu_buf_printf(out, "%llu I/Os in %.2f s: %.0f IOPS, %.1f MiB/s, %.2f CPU seconds a million\n",
		       (unsigned long long)r->sum.ios, seconds(r->runtime_ns),
		       per_second(r->sum.ios, r->runtime_ns),
		       per_second(r->sum.bytes, r->runtime_ns) / (1 << 20),
		       millions > 0 ? seconds(r->sum.cpu_ns) / millions : 0);
	add_times(out, "latency ", &r->latency);
	if (r->sum.ios)
		vhu_buf_printf(out, "kicks %.1f, sleeps %.1f for 1000 I/Os\n",
			       (double)r->sum.kicks * 1e3 / (double)r->sum.ios,
			       (double)r->sum.sleeps * 1e3 / (double)r->sum.ios);
	add_disturbances(out, r);
	vhu_buf_printf(out,
		       "errors: %llu I/O, %llu lost, %llu duplicated, %llu torn, %llu stale, %llu misplaced, "
		       "%llu ring\n",
		       (unsigned long long)e->io, (unsigned long long)e->lost,
		       (unsigned long long)e->duplicated, (unsigned long long)e->torn,
		       (unsigned long long)e->stale, (unsigned long long)e->misplaced,
		       (unsigned long long)e->ring);
	add_findings(out, &r->result);
}

/* --- JSON ------------------------------------------------------------------------------------ */

static json_t *number(uint64_t value)
{
	return json_integer((json_int_t)value);
}

static json_t *times(const struct vhu_histogram *h)
{
	return json_pack("{s:o, s:o, s:o, s:o, s:o, s:o}", "min", number(h->min), "p50",
			 number(vhu_histogram_at(h, 0.5)), "p90", number(vhu_histogram_at(h, 0.9)), "p99",
			 number(vhu_histogram_at(h, 0.99)), "p999", number(vhu_histogram_at(h, 0.999)), "max",
			 number(h->max));
}

static json_t *errors(const struct vhu_guest_errors *e)
{
	return json_pack("{s:o, s:o, s:o, s:o, s:o, s:o, s:o}", "io", number(e->io), "lost", number(e->lost),
			 "duplicated", number(e->duplicated), "torn", number(e->torn), "stale",
			 number(e->stale), "misplaced", number(e->misplaced), "ring", number(e->ring));
}

static json_t *queue(const struct vhu_load_queue *q, uint64_t runtime_ns)
{
	return json_pack("{s:o, s:f, s:f, s:f, s:o, s:o, s:o, s:o}", "ios", number(q->stats.ios), "iops",
			 per_second(q->stats.ios, runtime_ns), "bytes_per_s",
			 per_second(q->stats.bytes, runtime_ns), "cpu_s", seconds(q->stats.cpu_ns), "kicks",
			 number(q->stats.kicks), "sleeps", number(q->stats.sleeps), "latency_ns",
			 times(&q->latency), "errors", errors(&q->stats.errors));
}

static json_t *findings(const struct vhu_result *r)
{
	json_t *all = json_array();

	for (size_t i = 0; i < r->n_findings && all; i++) {
		const struct vhu_finding *f = &r->findings[i];

		json_array_append_new(all, json_pack("{s:s, s:s, s:s, s:s, s:s}", "requirement",
						     vhu_req_row(f->req)->id, "verdict",
						     vhu_verdict_name(r->grades[i]), "summary", f->summary,
						     "accepted", f->accepted, "actual", f->actual));
	}
	return all;
}

static json_t *handover(const struct vhu_load_result *r)
{
	return json_pack("{s:b, s:o, s:o}", "dirty_log", (int)r->logged, "dirty_log_pages",
			 number(r->logged_pages), "state_bytes", number(r->state_bytes));
}

static json_t *report(const struct vhu_guest_cli *o, const struct vhu_load_result *r)
{
	json_t *queues = json_array();
	uint64_t t = r->runtime_ns;

	for (unsigned i = 0; i < r->queues && r->queue && queues; i++)
		json_array_append_new(queues, queue(&r->queue[i], t));
	return json_pack(
		"{s:s, s:i, s:o, s:f, s:f, s:f, s:f, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:s, s:s, "
		"s:o, s:s, s:b, s:o}",
		"format", "vhu-guest", "version", 1, "ios", number(r->sum.ios), "runtime_s", seconds(t),
		"iops", per_second(r->sum.ios, t), "bytes_per_s", per_second(r->sum.bytes, t), "cpu_s",
		seconds(r->sum.cpu_ns), "latency_ns", times(&r->latency), "queues", queues, "errors",
		errors(&r->sum.errors), "crashes", number(r->crashes), "recovered_ios",
		number(r->sum.recovered), "idle_kills", number(r->idle_kills), "reconnects",
		number(r->reconnects), "recovery_ns", times(&r->recovery), "rw", vhu_guest_rw_name(o->rw),
		"memory", r->memory, "findings", findings(&r->result), "verdict",
		vhu_verdict_name(r->result.verdict), "inflight", (int)r->inflight, "handover",
		r->handovers ? handover(r) : json_null());
}

int vhu_guest_report_json(const struct vhu_guest_cli *o, const struct vhu_load_result *r, FILE *to,
			  struct vhu_err *err)
{
	json_t *j = report(o, r);
	char *text = j ? json_dumps(j, JSON_INDENT(1)) : NULL;
	int code = 0;

	json_decref(j);
	if (!text)
		code = vhu_err_errno(err, -ENOMEM, "%s", o->json);
	else if (fprintf(to, "%s\n", text) < 0 || fflush(to))
		code = vhu_err_errno(err, -errno, "%s", o->json);
	free(text);
	return code;
}
