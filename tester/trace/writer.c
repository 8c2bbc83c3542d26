/* Captures to files: libpcap writes the container, this the records. */
#include <errno.h>
#include <jansson.h>
#include <pcap/pcap.h>
#include <string.h>
#include <time.h>

#include "trace/file.h"

enum {
	CONNECTIONS_TOLD = 2000, /* in the closing record, which has to fit into one */
	BUFFER = 64 << 10, /* of a file: fewer calls */
};

struct counts {
	uint64_t messages, lost;
};

struct vhu_trace_writer {
	pcap_t *pcap;
	pcap_dumper_t *dump;
	char *path;
	bool pipe;
	struct vhu_buf packet;
	uint64_t records, lost;
	uint64_t last_ns; /* of what is converted: no clock of ours has to do with it; else 0 */
	struct counts *counts; /* by connection number */
	size_t n_counts, cap_counts;
	struct {
		bool on;
		struct vhu_buf packets; /* each behind its head */
		uint64_t records;	/* before it */
		size_t n_counts;
	} aside;
};

static uint64_t realtime_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_REALTIME, &t);
	return (uint64_t)t.tv_sec * UINT64_C(1000000000) + (uint64_t)t.tv_nsec;
}

/* The connection's counters; NULL when out of memory. */
static struct counts *counts_of(struct vhu_trace_writer *w, uint32_t connection)
{
	if (connection >= w->cap_counts) {
		size_t cap = VHU_MAX((size_t)connection + 1, w->cap_counts * 2);
		struct counts *grown = realloc(w->counts, cap * sizeof(*grown));

		if (!grown)
			return NULL;
		memset(grown + w->cap_counts, 0, (cap - w->cap_counts) * sizeof(*grown));
		w->counts = grown;
		w->cap_counts = cap;
	}
	w->n_counts = VHU_MAX(w->n_counts, (size_t)connection + 1);
	return &w->counts[connection];
}

int vhu_trace_writer_flush(struct vhu_trace_writer *w, struct vhu_err *err)
{
	errno = 0;
	return pcap_dump_flush(w->dump) < 0 ? vhu_err_errno(err, errno ? -errno : -EIO, "%s", w->path) : 0;
}

/* stdio's errors show at the latest when the file is closed. */
static int dump(struct vhu_trace_writer *w, const struct pcap_pkthdr *head, const char *packet,
		struct vhu_err *err)
{
	errno = 0;
	pcap_dump((unsigned char *)w->dump, head, (const unsigned char *)packet);
	if (w->pipe)
		pcap_dump_flush(w->dump);
	return ferror(pcap_dump_file(w->dump)) ? vhu_err_errno(err, errno ? -errno : -EIO, "%s", w->path) : 0;
}

/* Appends the packet, or lays it aside. */
static int append(struct vhu_trace_writer *w, uint64_t t_ns, size_t len, struct vhu_err *err)
{
	struct pcap_pkthdr head = {
		.ts = {.tv_sec = (time_t)(t_ns / UINT64_C(1000000000)),
		       .tv_usec = (suseconds_t)(t_ns % UINT64_C(1000000000))}, /* nanoseconds here */
		.caplen = (bpf_u_int32)w->packet.len,
		.len = (bpf_u_int32)len,
	};

	w->records++;
	if (!w->aside.on)
		return dump(w, &head, w->packet.data, err);
	vhu_buf_add(&w->aside.packets, &head, sizeof(head));
	vhu_buf_add(&w->aside.packets, w->packet.data, w->packet.len);
	return w->aside.packets.failed ? vhu_err_errno(err, -ENOMEM, "%s", w->path) : 0;
}

void vhu_trace_writer_lay_aside(struct vhu_trace_writer *w)
{
	w->aside.on = true;
	w->aside.records = w->records;
	w->aside.n_counts = w->n_counts;
}

int vhu_trace_writer_take_back(struct vhu_trace_writer *w, bool keep, struct vhu_err *err)
{
	struct vhu_buf *packets = &w->aside.packets;
	struct pcap_pkthdr head;
	int rc = 0;

	if (!w->aside.on)
		return 0;
	w->aside.on = false;
	for (size_t at = 0; keep && rc == 0 && at < packets->len; at += sizeof(head) + head.caplen) {
		memcpy(&head, packets->data + at, sizeof(head));
		rc = dump(w, &head, packets->data + at + sizeof(head), err);
	}
	if (!keep) {
		w->records = w->aside.records;
		if (w->counts)
			memset(w->counts + w->aside.n_counts, 0,
			       (w->n_counts - w->aside.n_counts) * sizeof(*w->counts));
		w->n_counts = w->aside.n_counts;
	}
	vhu_buf_done(packets);
	*packets = (struct vhu_buf){0};
	return rc;
}

int vhu_trace_writer_put(struct vhu_trace_writer *w, const struct vhu_record *r, struct vhu_err *err)
{
	struct counts *counts;
	uint64_t orig;
	int rc;

	if (r->connection > VHU_CAP_CONNECTIONS_MAX)
		return vhu_err_set(err, -E2BIG, "%s: more than %d connections do not fit into one capture",
				   w->path, VHU_CAP_CONNECTIONS_MAX);
	counts = counts_of(w, r->connection);
	if (!counts)
		return vhu_err_errno(err, -ENOMEM, "%s", w->path);
	vhu_buf_reset(&w->packet);
	rc = vhu_record_encode(r, (uint32_t)w->records, &w->packet, err);
	if (rc < 0)
		return rc;
	counts->messages += vhu_record_is_message(r);
	orig = w->packet.len;
	if (r->orig_len > r->len || w->packet.data[6] & VHU_CAP_TRUNCATED)
		orig = vhu_le_get(w->packet.data + 2, 2) + vhu_le_get(w->packet.data + 12, 4);
	if (w->last_ns && r->t_ns)
		w->last_ns = r->t_ns;
	return append(w, r->t_ns ? r->t_ns : realtime_ns(), (size_t)VHU_MIN(orig, (uint64_t)UINT32_MAX), err);
}

void vhu_trace_writer_lost(struct vhu_trace_writer *w, uint32_t connection, uint64_t n)
{
	struct counts *counts = connection <= VHU_CAP_CONNECTIONS_MAX ? counts_of(w, connection) : NULL;

	w->lost += n;
	if (counts)
		counts->lost += n;
}

uint64_t vhu_trace_writer_records(const struct vhu_trace_writer *w)
{
	return w->records;
}

/* --- first and last record -------------------------------------------------------------------------- */

static int put_json(struct vhu_trace_writer *w, unsigned kind, json_t *object, struct vhu_err *err)
{
	struct vhu_record r = {.t_ns = w->last_ns, .channel = VHU_CAP_META, .kind = (uint16_t)kind};
	char *text = object ? json_dumps(object, JSON_COMPACT) : NULL;
	int rc;

	json_decref(object);
	if (!text)
		return vhu_err_errno(err, -ENOMEM, "%s", w->path);
	r.payload = (const uint8_t *)text;
	r.len = strlen(text);
	rc = vhu_trace_writer_put(w, &r, err);
	free(text);
	return rc;
}

static int put_head(struct vhu_trace_writer *w, const struct vhu_trace_meta *meta, struct vhu_err *err)
{
	json_t *o = json_pack("{s:s,s:i,s:i,s:s,s:i}", "format", "vhu-capture", "version", VHU_CAP_VERSION,
			      "level", (int)meta->level, "host_order",
			      __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__ ? "little" : "big", "page_size",
			      (int)sysconf(_SC_PAGESIZE));
	json_t *target = meta->target ? json_loads(meta->target, 0, NULL) : NULL;

	if (o && meta->tool)
		json_object_set_new(o, "tool", json_string(meta->tool));
	if (o && target)
		json_object_set(o, "target", target);
	json_decref(target);
	if (o && meta->n_mask) {
		json_t *mask = json_array();

		for (size_t i = 0; i < meta->n_mask; i++)
			json_array_append_new(mask, json_string(meta->mask[i]));
		json_object_set_new(o, "mask", mask);
	}
	return put_json(w, VHU_CAP_META_HEAD, o, err);
}

static int put_end(struct vhu_trace_writer *w, struct vhu_err *err)
{
	json_t *o =
		json_pack("{s:I,s:I}", "records", (json_int_t)w->records + 1, "lost", (json_int_t)w->lost);

	if (o && w->n_counts <= CONNECTIONS_TOLD + 1) {
		json_t *list = json_array();

		for (size_t i = 1; i < w->n_counts; i++)
			json_array_append_new(list, json_pack("{s:I,s:I,s:I}", "connection", (json_int_t)i,
							      "messages", (json_int_t)w->counts[i].messages,
							      "lost", (json_int_t)w->counts[i].lost));
		json_object_set_new(o, "connections", list);
	}
	return put_json(w, VHU_CAP_META_END, o, err);
}

/* --- life ------------------------------------------------------------------------------------------- */

int vhu_trace_writer_new(const char *path, const struct vhu_trace_meta *meta, struct vhu_trace_writer **ret,
			 struct vhu_err *err)
{
	struct vhu_trace_writer *w = calloc(1, sizeof(*w));
	FILE *file = NULL;
	int rc;

	if (!w)
		return vhu_err_errno(err, -ENOMEM, "%s", path);
	w->last_ns = meta->t_ns;
	w->pipe = strcmp(path, "-") == 0;
	w->path = strdup(w->pipe ? "stdout" : path);
	w->pcap = pcap_open_dead_with_tstamp_precision(VHU_CAP_LINKTYPE, VHU_CAP_RECORD_MAX,
						       PCAP_TSTAMP_PRECISION_NANO);
	file = w->pipe ? stdout : fopen(path, "wbe");
	if (file && !w->pipe)
		setvbuf(file, NULL, _IOFBF, BUFFER);
	if (!file)
		rc = vhu_err_errno(err, -errno, "%s", path);
	else if (!w->path || !w->pcap || !(w->dump = pcap_dump_fopen(w->pcap, file)))
		rc = vhu_err_set(err, -EIO, "%s: %s", path, w->pcap ? pcap_geterr(w->pcap) : "out of memory");
	else
		rc = put_head(w, meta, err);
	if (rc == 0)
		rc = vhu_trace_writer_flush(w, err);
	if (rc < 0) {
		if (file && !w->dump && !w->pipe)
			fclose(file);
		vhu_trace_writer_free(w);
		return rc;
	}
	*ret = w;
	return 0;
}

void vhu_trace_writer_free(struct vhu_trace_writer *w)
{
	if (!w)
		return;
	if (w->dump)
		pcap_dump_close(w->dump);
	if (w->pcap)
		pcap_close(w->pcap);
	vhu_buf_done(&w->packet);
	vhu_buf_done(&w->aside.packets);
	free(w->counts);
	free(w->path);
	free(w);
}

int vhu_trace_writer_close(struct vhu_trace_writer *w, struct vhu_err *err)
{
	int rc = put_end(w, err);

	if (rc == 0)
		rc = vhu_trace_writer_flush(w, err);
	vhu_trace_writer_free(w);
	return rc;
}
