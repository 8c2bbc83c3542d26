/*
 * For the benchmark of vhu-trace:
 *
 *   bench-trace make IN.pcap OUT.pcap BYTES   the sessions of IN again and again, each with a number of its
 * own bench-trace loop FILE.pcap                a bare loop over it, as fast as libpcap reads: records, bytes
 */
#include <errno.h>
#include <inttypes.h>
#include <pcap/pcap.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/util.h"
#include "trace/format.h"

enum { RECORDS = 4096, CHANNEL_AT = 4, CONNECTION_AT = 8, SEQ_AT = 36 };

struct packet {
	struct pcap_pkthdr head;
	uint8_t *bytes;
};

static pcap_t *open_file(const char *path)
{
	char why[PCAP_ERRBUF_SIZE];
	pcap_t *p = pcap_open_offline_with_tstamp_precision(path, PCAP_TSTAMP_PRECISION_NANO, why);

	if (!p)
		fprintf(stderr, "bench-trace: %s: %s\n", path, why);
	return p;
}

static int loop(const char *path)
{
	pcap_t *p = open_file(path);
	uint64_t records = 0, bytes = 0;
	struct pcap_pkthdr *head;
	const unsigned char *packet;

	if (!p)
		return 1;
	while (pcap_next_ex(p, &head, &packet) == 1) {
		records++;
		bytes += head->caplen;
	}
	pcap_close(p);
	printf("%" PRIu64 " records, %" PRIu64 " bytes\n", records, bytes);
	return 0;
}

/* Records between the first and the last, which are about the file. */
static size_t read_all(const char *path, struct packet *first, struct packet *packets)
{
	pcap_t *p = open_file(path);
	struct pcap_pkthdr *head;
	const unsigned char *bytes;
	size_t n = 0;

	while (p && n < RECORDS && pcap_next_ex(p, &head, &bytes) == 1) {
		struct packet *to = first->bytes ? &packets[n] : first;

		if (first->bytes && bytes[CHANNEL_AT] == VHU_CAP_META)
			continue;
		to->head = *head;
		to->bytes = malloc(head->caplen);
		if (!to->bytes)
			return 0;
		memcpy(to->bytes, bytes, head->caplen);
		n += to != first;
	}
	if (p)
		pcap_close(p);
	return n;
}

static int make(const char *in, const char *out, uint64_t size)
{
	static struct packet packets[RECORDS];
	struct packet first = {0};
	size_t n = read_all(in, &first, packets);
	pcap_t *p = pcap_open_dead_with_tstamp_precision(VHU_CAP_LINKTYPE, VHU_CAP_RECORD_MAX,
							 PCAP_TSTAMP_PRECISION_NANO);
	pcap_dumper_t *dump = p && n ? pcap_dump_open(p, out) : NULL;
	uint64_t bytes = 0;
	uint32_t seq = 1, connection = 0, highest = 0;

	if (!dump) {
		fprintf(stderr, "bench-trace: %s: cannot be made of %s\n", out, in);
		return 1;
	}
	pcap_dump((unsigned char *)dump, &first.head, first.bytes);
	for (size_t i = 0; i < n; i++)
		highest = VHU_MAX(highest, (uint32_t)vhu_le_get(packets[i].bytes + CONNECTION_AT, 4));
	while (bytes < size) {
		for (size_t i = 0; i < n; i++) {
			struct packet k = packets[i];
			uint32_t own = (uint32_t)vhu_le_get(k.bytes + CONNECTION_AT, 4);

			/* The numbers come again where they are used up. */
			vhu_le_put(k.bytes + CONNECTION_AT, 4, connection + own);
			vhu_le_put(k.bytes + SEQ_AT, 4, seq++);
			pcap_dump((unsigned char *)dump, &k.head, k.bytes);
			vhu_le_put(k.bytes + CONNECTION_AT, 4, own);
			bytes += k.head.caplen + 16;
		}
		connection = (connection + highest) % (VHU_CAP_CONNECTIONS_MAX - highest);
	}
	pcap_dump_close(dump);
	pcap_close(p);
	return 0;
}

int main(int argc, char **argv)
{
	uint64_t size;

	if (argc == 3 && !strcmp(argv[1], "loop"))
		return loop(argv[2]);
	if (argc == 5 && !strcmp(argv[1], "make") && !vhu_u64_parse(argv[4], &size))
		return make(argv[2], argv[3], size);
	fputs("usage: bench-trace make IN OUT BYTES | loop FILE\n", stderr);
	return 2;
}
