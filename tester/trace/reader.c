/* Captures from files, whose every byte is distrusted: libpcap reads the container, record.c each packet. */
#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <pcap/pcap.h>
#include <stdarg.h>
#include <string.h>

#include "base/arena.h"
#include "trace/file.h"

enum {
	NOTES_MAX = 20, /* lines; what comes after is counted */
	FILE_BUFFER = 64 * 1024,
	PCAP_FILE_HEAD = 24,
	PCAP_RECORD_HEAD = 16,
	PCAP_CLASSIC = 2, /* its major version; pcapng has 1 */
};

struct vhu_trace_reader {
	pcap_t *pcap;
	char *path;
	char *meta;
	struct vhu_buf notes;
	uint64_t n_notes;
	uint64_t packets; /* read so far; the next one's number */
	uint64_t bytes;	  /* of a classic pcap file, read so far */
	long long at;	  /* where the packet that was read last begins in the file; -1: nobody knows */
	uint32_t next_seq;
	bool classic; /* no pcapng */
	bool borrow;
	bool over;
	bool held; /* the first record waits to be given out */
	struct pcap_pkthdr *head;
	const uint8_t *packet;
	struct vhu_buf told; /* the notes as text */
};

static void VHU_PRINTF(2, 3) note(struct vhu_trace_reader *r, const char *format, ...)
{
	char line[256];
	va_list ap;

	if (r->n_notes++ >= NOTES_MAX)
		return;
	va_start(ap, format);
	vsnprintf(line, sizeof(line), format, ap);
	va_end(ap);
	vhu_buf_printf(&r->notes, "%s\n", line);
}

const char *vhu_trace_reader_notes(struct vhu_trace_reader *r)
{
	vhu_buf_reset(&r->told);
	vhu_buf_puts(&r->told, vhu_buf_text(&r->notes));
	if (r->n_notes > NOTES_MAX)
		vhu_buf_printf(&r->told, "and %" PRIu64 " more of the kind\n", r->n_notes - NOTES_MAX);
	return vhu_buf_text(&r->told);
}

/* The next packet: 1, 0 at the end. A file that was cut off has an end there. */
static int next_packet(struct vhu_trace_reader *r)
{
	const unsigned char *packet = NULL;
	int rc;

	if (r->over)
		return 0;
	r->at = r->classic ? (long long)r->bytes : (long long)ftello(pcap_file(r->pcap));
	rc = pcap_next_ex(r->pcap, &r->head, &packet);
	if (rc == 1) {
		r->packet = packet;
		r->packets++;
		r->bytes += PCAP_RECORD_HEAD + r->head->caplen;
		return 1;
	}
	r->over = true;
	if (rc != PCAP_ERROR_BREAK)
		note(r, "the file ends inside record %" PRIu64 " at offset %lld: %s%s", r->packets, r->at,
		     pcap_geterr(r->pcap), r->packets ? "; what stands before it is used" : "");
	return 0;
}

static uint64_t packet_time(const struct pcap_pkthdr *head)
{
	return (uint64_t)head->ts.tv_sec * UINT64_C(1000000000) + (uint64_t)head->ts.tv_usec;
}

static void check_seq(struct vhu_trace_reader *r, const struct vhu_record *got)
{
	if (got->seq > r->next_seq)
		note(r, "%" PRIu32 " record%s missing before record %" PRIu32 " at offset %lld",
		     got->seq - r->next_seq, got->seq - r->next_seq == 1 ? " is" : "s are", got->seq,
		     r->at);
	else if (got->seq < r->next_seq)
		note(r, "record %" PRIu32 " at offset %lld stands behind record %" PRIu32, got->seq,
		     r->at, r->next_seq - 1);
	r->next_seq = VHU_MAX(r->next_seq, got->seq + 1);
}

int vhu_trace_reader_next(struct vhu_trace_reader *r, struct vhu_arena *arena, struct vhu_record *ret,
			  struct vhu_err *err)
{
	while (r->held || next_packet(r)) {
		enum vhu_record_fault fault;
		int rc = vhu_record_decode(r->packet, r->head->caplen, packet_time(r->head), arena, ret,
					   &fault, err);

		r->held = false;
		if (rc < 0)
			return rc;
		if (fault != VHU_RECORD_OK) {
			note(r, "record %" PRIu64 " at offset %lld is passed over: %s", r->packets - 1,
			     r->at, vhu_record_fault_text(fault));
			r->next_seq++; /* it had a number of its own, most likely */
			continue;
		}
		if (ret->len && !r->borrow) {
			ret->payload = vhu_arena_memdup(arena, ret->payload, ret->len);
			if (!ret->payload)
				return vhu_err_errno(err, -ENOMEM, "%s", r->path);
		}
		check_seq(r, ret);
		return 1;
	}
	return 0;
}

void vhu_trace_reader_borrow(struct vhu_trace_reader *r)
{
	r->borrow = true;
}

/* --- opening ---------------------------------------------------------------------------------------- */

/* The text of the first record, which has to be ours. */
static int check_meta(struct vhu_trace_reader *r, const struct vhu_record *first, struct vhu_err *err)
{
	json_error_t error;
	json_t *o = json_loadb((const char *)first->payload, first->len, JSON_REJECT_DUPLICATES, &error);
	const char *format = json_string_value(json_object_get(o, "format"));
	json_int_t version = json_integer_value(json_object_get(o, "version"));
	int rc = 0;

	if (!o)
		rc = vhu_err_set(err, -EINVAL, "%s: record 0 is no JSON: %s", r->path, error.text);
	else if (!format || strcmp(format, "vhu-capture"))
		rc = vhu_err_set(err, -EINVAL, "%s: record 0 is not of the format \"vhu-capture\"", r->path);
	else if (version != VHU_CAP_VERSION)
		rc = vhu_err_set(err, -EINVAL, "%s: captures of version %lld are not known here, only %d",
				 r->path, (long long)version, VHU_CAP_VERSION);
	else if (!json_is_integer(json_object_get(o, "level")))
		rc = vhu_err_set(err, -EINVAL, "%s: record 0 gives no \"level\"", r->path);
	json_decref(o);
	if (rc < 0)
		return rc;
	r->meta = strndup((const char *)first->payload, first->len);
	return r->meta ? 0 : vhu_err_errno(err, -ENOMEM, "%s", r->path);
}

static int read_meta(struct vhu_trace_reader *r, struct vhu_err *err)
{
	struct vhu_arena *arena = vhu_arena_new();
	enum vhu_record_fault fault;
	struct vhu_record first;
	int rc;

	if (!arena)
		return vhu_err_errno(err, -ENOMEM, "%s", r->path);
	if (!next_packet(r))
		rc = vhu_err_set(err, -EINVAL, "%s: there is no record in it%s%.*s", r->path,
				 r->n_notes ? ": " : "", (int)strcspn(vhu_buf_text(&r->notes), "\n"),
				 vhu_buf_text(&r->notes));
	else
		rc = vhu_record_decode(r->packet, r->head->caplen, 0, arena, &first, &fault, err);
	if (rc == 0 && fault != VHU_RECORD_OK)
		rc = vhu_err_set(err, -EINVAL, "%s: record 0 at offset %lld is no record of a capture: %s",
				 r->path, r->at, vhu_record_fault_text(fault));
	else if (rc == 0 && (first.channel != VHU_CAP_META || first.kind != VHU_CAP_META_HEAD))
		rc = vhu_err_set(err, -EINVAL,
				 "%s: record 0 does not describe a capture; link type %d is shared "
				 "with others",
				 r->path, VHU_CAP_LINKTYPE);
	else if (rc == 0)
		rc = check_meta(r, &first, err);
	vhu_arena_free(arena);
	r->held = true;
	return rc;
}

static int open_file(FILE *file, const char *path, struct vhu_trace_reader **ret, struct vhu_err *err)
{
	char why[PCAP_ERRBUF_SIZE] = "";
	struct vhu_trace_reader *r = calloc(1, sizeof(*r));
	int rc;

	if (!r || !(r->path = strdup(path))) {
		free(r);
		if (file != stdin)
			fclose(file);
		return vhu_err_errno(err, -ENOMEM, "%s", path);
	}
	r->pcap = pcap_fopen_offline_with_tstamp_precision(file, PCAP_TSTAMP_PRECISION_NANO, why);
	if (!r->pcap) {
		if (file != stdin)
			fclose(file);
		rc = vhu_err_set(err, -EINVAL, "%s: no pcap file: %s", path, why);
	} else if (pcap_datalink(r->pcap) != VHU_CAP_LINKTYPE) {
		rc = vhu_err_set(err, -EINVAL, "%s: its link type is %d; captures of vhost-user have %d",
				 path, pcap_datalink(r->pcap), VHU_CAP_LINKTYPE);
	} else {
		r->classic = pcap_major_version(r->pcap) == PCAP_CLASSIC;
		r->bytes = PCAP_FILE_HEAD;
		rc = read_meta(r, err);
	}
	if (rc < 0) {
		vhu_trace_reader_free(r);
		return rc;
	}
	*ret = r;
	return 0;
}

int vhu_trace_reader_new(const char *path, struct vhu_trace_reader **ret, struct vhu_err *err)
{
	FILE *file;

	if (strcmp(path, "-") == 0)
		return open_file(stdin, "stdin", ret, err);
	file = fopen(path, "rbe");
	if (!file)
		return vhu_err_errno(err, -errno, "%s", path);
	setvbuf(file, NULL, _IOFBF, FILE_BUFFER);
	return open_file(file, path, ret, err);
}

int vhu_trace_reader_new_mem(const void *bytes, size_t len, struct vhu_trace_reader **ret,
			     struct vhu_err *err)
{
	/* fmemopen takes no empty buffer. */
	FILE *file = len ? fmemopen((void *)bytes, len, "rb") : fopen("/dev/null", "rbe");

	if (!file)
		return vhu_err_errno(err, -errno, "capture in memory");
	return open_file(file, "capture", ret, err);
}

void vhu_trace_reader_free(struct vhu_trace_reader *r)
{
	if (!r)
		return;
	if (r->pcap)
		pcap_close(r->pcap);
	vhu_buf_done(&r->notes);
	vhu_buf_done(&r->told);
	free(r->meta);
	free(r->path);
	free(r);
}

void vhu_trace_reader_position(const struct vhu_trace_reader *r, uint64_t *record, long long *offset)
{
	*record = r->packets ? r->packets - 1 : 0;
	*offset = r->packets ? r->at : -1;
}

const char *vhu_trace_reader_meta(const struct vhu_trace_reader *r)
{
	return r->meta;
}
