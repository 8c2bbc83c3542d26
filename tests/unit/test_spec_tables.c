/* The tables of include/vhu/ as C rows: every row is sane, and every look-up finds it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include <spec/spec.h>

static void filled(const char *text)
{
	assert_non_null(text);
	assert_true(*text);
}

/* --- messages -------------------------------------------------------------------------------- */

static void messages_are_found(void **state)
{
	for (int i = 0; i < VHU_MSG_MAX; i++) {
		const struct vhu_msg_row *row = vhu_msg_row((enum vhu_msg)i);

		assert_non_null(row);
		assert_int_equal(row->msg, i);
		assert_ptr_equal(vhu_msg_by_id(row->channel, row->id), row);
		assert_ptr_equal(vhu_msg_by_name(row->name), row);
		assert_string_equal(vhu_msg_name_at(NULL, (size_t)i), row->name);
	}
	assert_null(vhu_msg_row(VHU_MSG_MAX));
	assert_null(vhu_msg_row((enum vhu_msg) - 1));
	assert_null(vhu_msg_by_id(VHU_CHAN_MAIN, 0));
	assert_null(vhu_msg_by_id(VHU_CHAN_MAIN, 99));
	assert_null(vhu_msg_by_id(VHU_CHAN_MAIN, UINT32_MAX));
	assert_null(vhu_msg_by_id(VHU_CHAN_BACKEND, 11));
	assert_null(vhu_msg_by_id(VHU_CHAN_MAX, 1));
	assert_null(vhu_msg_by_name("VHOST_USER_GET_FEATURES"));
	assert_null(vhu_msg_by_name("get_features"));
	assert_null(vhu_msg_by_name(""));
}

static void ids_are_by_channel(void **state)
{
	assert_string_equal(vhu_msg_by_id(VHU_CHAN_MAIN, 1)->name, "GET_FEATURES");
	assert_string_equal(vhu_msg_by_id(VHU_CHAN_BACKEND, 1)->name, "BACKEND_IOTLB_MSG");
	assert_string_equal(vhu_msg_by_id(VHU_CHAN_GPU, 1)->name, "GPU_GET_PROTOCOL_FEATURES");
	assert_int_equal(VHU_ID_SET_VRING_ENABLE, 18);
	assert_int_equal(VHU_ID_BACKEND_SHMEM_UNMAP, 10);
}

static void older_names_are_known(void **state)
{
	size_t n = VHU_MSG_MAX;

	assert_ptr_equal(vhu_msg_by_name("SET_SLAVE_REQ_FD"), vhu_msg_row(VHU_MSG_SET_BACKEND_REQ_FD));
	assert_ptr_equal(vhu_msg_by_name("VRING_CALL"), vhu_msg_row(VHU_MSG_BACKEND_VRING_CALL));
	assert_string_equal(vhu_msg_name_at(NULL, n), "SET_SLAVE_REQ_FD");
	for (const char *name; (name = vhu_msg_name_at(NULL, n)); n++)
		assert_non_null(vhu_msg_by_name(name));
	assert_true(n > VHU_MSG_MAX);
	assert_null(vhu_msg_name_at(NULL, n + 1));
}

static void messages_are_sane(void **state)
{
	uint64_t known = 0;
	const struct vhu_feature_row *pf;

	for (size_t i = 0; (pf = vhu_feature_row(VHU_NS_PROTOCOL, i)); i++)
		known |= UINT64_C(1) << pf->bit;

	for (int i = 0; i < VHU_MSG_MAX; i++) {
		const struct vhu_msg_row *row = vhu_msg_row((enum vhu_msg)i);
		const struct vhu_payload_row *request = vhu_payload_row(row->request);

		filled(row->section);
		filled(row->note);
		assert_true(row->id > 0);
		assert_in_range(row->channel, 0, VHU_CHAN_MAX - 1);
		assert_non_null(request);
		assert_non_null(vhu_payload_row(row->request_alt));
		assert_non_null(vhu_payload_row(row->reply));
		assert_non_null(vhu_payload_row(row->reply_alt));
		assert_true(row->fds_min <= row->fds_max);
		assert_true(row->reply_fds_min <= row->reply_fds_max);
		assert_int_equal(row->gate & ~known, 0);
		/* What speaks of a ring says which. */
		if (row->scope == VHU_SCOPE_RING)
			assert_true(vhu_field_by_name(row->request, "index") ||
				    vhu_bits_by_name(row->request, "index"));
		/* Only an answer can carry something. */
		if (row->answer == VHU_ANSWER_NEVER) {
			assert_int_equal(row->reply, VHU_PL_NONE);
			assert_int_equal(row->reply_fds_max, 0);
		}
		if (row->channel == VHU_CHAN_BACKEND)
			assert_true(row->gate & VHU_P(BACKEND_REQ));
		assert_ptr_equal(strstr(row->name, "VHOST_USER_"), NULL);
	}
}

/* --- payloads -------------------------------------------------------------------------------- */

static void fields_lie_in_order(void **state)
{
	for (int pl = 0; pl < VHU_PL_MAX; pl++) {
		const struct vhu_payload_row *row = vhu_payload_row((enum vhu_payload)pl);
		const struct vhu_field_row *field;
		size_t end = 0, n = 0;

		assert_int_equal(row->payload, pl);
		filled(row->name);
		filled(row->section);
		assert_true(row->min <= row->max);
		for (; (field = vhu_payload_field(row->payload, n)); n++) {
			assert_int_equal(field->payload, pl);
			filled(field->name);
			filled(field->meaning);
			assert_ptr_equal(vhu_field_by_name(row->payload, field->name), field);
			assert_true(field->offset >= end);
			if (field->kind == VHU_FIELD_UINT)
				assert_true(field->size == 1 || field->size == 2 || field->size == 4 ||
					    field->size == 8);
			if (field->kind == VHU_FIELD_REGION)
				assert_int_equal(field->size, vhu_payload_row(VHU_PL_REGION)->min);
			if (field->count) {
				const struct vhu_field_row *counter =
					vhu_field_by_name(row->payload, field->count);

				assert_true(counter || !strcmp(field->count, "END"));
				/* Whoever counts stands before what is counted, inside the smallest payload.
				 */
				if (counter)
					assert_true(counter->offset + counter->size <= row->min);
				assert_int_equal(field->offset, row->min);
			} else if (field->size) {
				assert_true(field->offset + field->size <= row->max);
			}
			/* What has no end of its own is the last one. */
			end = field->size && !field->count ? field->offset + field->size : SIZE_MAX;
		}
		/* Fields of a payload of one size fill it. */
		if (n && row->min == row->max && end != SIZE_MAX)
			assert_int_equal(end, row->max);
		assert_null(vhu_payload_field(row->payload, n));
		assert_null(vhu_payload_field(row->payload, SIZE_MAX));
	}
	assert_null(vhu_payload_row(VHU_PL_MAX));
	assert_null(vhu_payload_field(VHU_PL_MAX, 0));
	assert_null(vhu_field_by_name(VHU_PL_VRING_STATE, "nmu"));
	assert_null(vhu_field_by_name(VHU_PL_NONE, "u64"));
}

static void bit_fields_lie_in_their_field(void **state)
{
	for (int pl = 0; pl < VHU_PL_MAX; pl++) {
		const struct vhu_bits_row *bits;

		for (size_t i = 0; (bits = vhu_payload_bits((enum vhu_payload)pl, i)); i++) {
			const struct vhu_field_row *field =
				vhu_field_by_name((enum vhu_payload)pl, bits->field);

			assert_int_equal(bits->payload, pl);
			assert_non_null(field);
			assert_int_equal(field->kind, VHU_FIELD_UINT);
			assert_true(bits->width > 0 && bits->width < 64);
			assert_true(bits->first + bits->width <= 8 * field->size);
			assert_ptr_equal(vhu_bits_by_name((enum vhu_payload)pl, bits->name), bits);
			/* They are addressed like fields, so no field may have the name. */
			assert_null(vhu_field_by_name((enum vhu_payload)pl, bits->name));
			filled(bits->meaning);
		}
	}
	assert_null(vhu_payload_bits(VHU_PL_MAX, 0));
	assert_null(vhu_bits_by_name(VHU_PL_VRING_FD, "u64"));
}

static void bit_fields_of_a_word_do_not_overlap(void **state)
{
	/* VRING_BASE has one word of two readings; everywhere else a bit has one meaning. */
	for (int pl = 0; pl < VHU_PL_MAX; pl++) {
		const struct vhu_bits_row *bits;
		uint64_t taken = 0;

		for (size_t i = 0; (bits = vhu_payload_bits((enum vhu_payload)pl, i)); i++) {
			uint64_t mask = ((UINT64_C(1) << bits->width) - 1) << bits->first;

			if (pl != VHU_PL_VRING_BASE)
				assert_int_equal(taken & mask, 0);
			taken |= mask;
		}
	}
}

static void field_names_can_be_walked(void **state)
{
	enum vhu_payload pl = VHU_PL_VRING_FD;
	enum vhu_payload none = VHU_PL_NONE;

	assert_string_equal(vhu_field_name_at(&pl, 0), "u64");
	assert_string_equal(vhu_field_name_at(&pl, 1), "index");
	assert_string_equal(vhu_field_name_at(&pl, 2), "no_fd");
	assert_null(vhu_field_name_at(&pl, 3));
	assert_null(vhu_field_name_at(&none, 0));
	pl = VHU_PL_VRING_STATE;
	assert_string_equal(vhu_nearest_name("nmu", vhu_field_name_at, &pl), "num");
}

static void namespaces_belong_to_fields(void **state)
{
	assert_int_equal(vhu_field_namespace(VHU_PL_FEATURES, "u64"), VHU_NS_VIRTIO);
	assert_int_equal(vhu_field_namespace(VHU_PL_PROTOCOL_FEATURES, "u64"), VHU_NS_PROTOCOL);
	assert_int_equal(vhu_field_namespace(VHU_PL_STATUS, "u64"), VHU_NS_STATUS);
	assert_int_equal(vhu_field_namespace(VHU_PL_U64, "u64"), VHU_NS_NONE);
	assert_int_equal(vhu_field_namespace(VHU_PL_FEATURES, "num"), VHU_NS_NONE);
}

/* --- features -------------------------------------------------------------------------------- */

static void check_feature_rows(enum vhu_namespace ns)
{
	const struct vhu_feature_row *row, *other;

	for (size_t i = 0; (row = vhu_feature_row(ns, i)); i++) {
		uint64_t there = 0;

		filled(row->name);
		filled(row->summary);
		assert_true(row->bit < 64);
		assert_in_range(row->device, 0, VHU_DEV_ANY);
		assert_ptr_equal(vhu_feature_by_name(ns, row->name), row);
		assert_ptr_equal(vhu_feature_by_bit(ns, row->bit, row->device), row);
		assert_string_equal(vhu_feature_name_at(&ns, i), row->name);
		for (size_t j = 0; (other = vhu_feature_row(ns, j)); j++) {
			if (other->device != VHU_DEV_ANY && other->device != row->device)
				continue;
			there |= UINT64_C(1) << other->bit;
			/* A device's bit is none of the transport's. */
			assert_true(i == j || other->bit != row->bit);
		}
		assert_int_equal(row->needs & ~there, 0);
		assert_int_equal(row->needs & UINT64_C(1) << row->bit, 0);
	}
}

static void features_are_sane(void **state)
{
	check_feature_rows(VHU_NS_VIRTIO);
	check_feature_rows(VHU_NS_PROTOCOL);
	check_feature_rows(VHU_NS_STATUS);
	assert_null(vhu_feature_row(VHU_NS_NONE, 0));
}

static void features_by_name(void **state)
{
	enum vhu_namespace ns = VHU_NS_PROTOCOL;
	size_t n = 0;

	assert_int_equal(vhu_feature_by_name(VHU_NS_PROTOCOL, "REPLY_ACK")->bit, 3);
	assert_int_equal(vhu_feature_by_name(VHU_NS_PROTOCOL, "VHOST_USER_PROTOCOL_F_REPLY_ACK")->bit, 3);
	assert_int_equal(vhu_feature_by_name(VHU_NS_PROTOCOL, "NET_MTU")->bit, 4);
	assert_int_equal(vhu_feature_by_name(VHU_NS_PROTOCOL, "VHOST_USER_PROTOCOL_F_SLAVE_REQ")->bit, 5);
	assert_null(vhu_feature_by_name(VHU_NS_PROTOCOL, "VIRTIO_F_VERSION_1"));
	assert_int_equal(vhu_feature_by_name(VHU_NS_VIRTIO, "VIRTIO_F_IOMMU_PLATFORM")->bit, 33);
	assert_null(vhu_feature_by_name(VHU_NS_VIRTIO, "VERSION_1"));
	assert_int_equal(vhu_feature_by_name(VHU_NS_STATUS, "DRIVER_OK")->bit, 2);
	assert_null(vhu_feature_by_name(VHU_NS_STATUS, "driver_ok"));
	assert_null(vhu_feature_by_name(VHU_NS_NONE, "MQ"));
	/* Rows first, then aliases. */
	while (vhu_feature_name_at(&ns, n))
		assert_non_null(vhu_feature_by_name(ns, vhu_feature_name_at(&ns, n++)));
	assert_true(n > VHU_PF_GET_VRING_BASE_SKIP_DRAIN + 1);
	assert_null(vhu_feature_row(ns, n - 1));
	assert_null(vhu_feature_name_at(&ns, n + 1));
}

static void features_by_bit_are_of_the_device(void **state)
{
	assert_string_equal(vhu_feature_by_bit(VHU_NS_VIRTIO, 5, VHU_DEV_BLK)->name, "VIRTIO_BLK_F_RO");
	assert_string_equal(vhu_feature_by_bit(VHU_NS_VIRTIO, 5, VHU_DEV_NET)->name, "VIRTIO_NET_F_MAC");
	assert_string_equal(vhu_feature_by_bit(VHU_NS_VIRTIO, 32, VHU_DEV_NET)->name, "VIRTIO_F_VERSION_1");
	assert_null(vhu_feature_by_bit(VHU_NS_VIRTIO, 5, VHU_DEV_ANY));
	assert_null(vhu_feature_by_bit(VHU_NS_VIRTIO, 64, VHU_DEV_BLK));
	assert_null(vhu_feature_by_bit(VHU_NS_PROTOCOL, 63, VHU_DEV_ANY));
	assert_null(vhu_feature_by_bit(VHU_NS_STATUS, 5, VHU_DEV_ANY));
	assert_null(vhu_feature_by_bit(VHU_NS_NONE, 1, VHU_DEV_ANY));
}

static void known_features_leave_out_opt_ins(void **state)
{
	uint64_t blk = vhu_features_known(VHU_NS_VIRTIO, VHU_DEV_BLK);
	uint64_t any = vhu_features_known(VHU_NS_VIRTIO, VHU_DEV_ANY);
	uint64_t proto = vhu_features_known(VHU_NS_PROTOCOL, VHU_DEV_BLK);

	assert_true(blk & VHU_V(VIRTIO_F_VERSION_1));
	assert_true(blk & VHU_V(VHOST_USER_F_PROTOCOL_FEATURES));
	assert_true(blk & VHU_V(VIRTIO_BLK_F_FLUSH));
	assert_false(blk & (VHU_V(VHOST_F_LOG_ALL) | VHU_V(VIRTIO_F_ACCESS_PLATFORM) |
			    VHU_V(VIRTIO_F_RING_PACKED)));
	assert_false(any & VHU_V(VIRTIO_BLK_F_FLUSH));
	assert_int_equal(any & ~blk, 0);
	assert_true(proto & VHU_P(REPLY_ACK));
	assert_false(proto & (VHU_P(INBAND_NOTIFICATIONS) | VHU_P(XEN_MMAP) | VHU_P(PAGEFAULT)));
	assert_int_equal(vhu_features_known(VHU_NS_NONE, VHU_DEV_ANY), 0);
}

static void bits_have_names(void **state)
{
	char text[80];
	uint64_t value = VHU_V(VIRTIO_F_VERSION_1) | VHU_V(VIRTIO_RING_F_EVENT_IDX) | UINT64_C(1) << 58;

	assert_string_equal(vhu_bit_names(VHU_NS_VIRTIO, VHU_DEV_BLK, value, text, sizeof(text)),
			    "EVENT_IDX | VERSION_1 | bit 58");
	assert_string_equal(vhu_bit_names(VHU_NS_VIRTIO, VHU_DEV_BLK, 0x21, text, sizeof(text)),
			    "BARRIER | RO");
	assert_string_equal(vhu_bit_names(VHU_NS_PROTOCOL, VHU_DEV_ANY, 0x9, text, sizeof(text)),
			    "MQ | REPLY_ACK");
	assert_string_equal(vhu_bit_names(VHU_NS_STATUS, VHU_DEV_ANY, 0xf, text, sizeof(text)),
			    "ACKNOWLEDGE | DRIVER | DRIVER_OK | FEATURES_OK");
	assert_string_equal(vhu_bit_names(VHU_NS_VIRTIO, VHU_DEV_BLK, 0, text, sizeof(text)), "none");

	/* Cut anywhere, it stays a string, and nothing behind it is touched. */
	for (size_t cap = 0; cap < 24; cap++) {
		memset(text, 'x', sizeof(text));
		vhu_bit_names(VHU_NS_VIRTIO, VHU_DEV_BLK, UINT64_MAX, text, cap);
		if (cap)
			assert_int_equal(strlen(text), cap - 1);
		assert_int_equal(text[cap], 'x');
	}
}

/* --- devices --------------------------------------------------------------------------------- */

static void devices_are_found(void **state)
{
	for (int i = 0; i < VHU_DEV_MAX; i++) {
		const struct vhu_device_row *row = vhu_device_row((enum vhu_device)i);

		assert_int_equal(row->device, i);
		filled(row->section);
		assert_true(row->virtio_id > 0);
		assert_ptr_equal(vhu_device_by_name(row->name), row);
		for (const char *c = row->name; *c; c++)
			assert_true((*c >= 'a' && *c <= 'z') || (*c >= '0' && *c <= '9'));
	}
	assert_string_equal(vhu_device_row(VHU_DEV_BLK)->name, "blk");
	assert_string_equal(vhu_device_row(VHU_DEV_I2C)->name, "i2c");
	assert_int_equal(vhu_device_by_name("vsock")->virtio_id, 19);
	assert_null(vhu_device_row(VHU_DEV_ANY));
	assert_null(vhu_device_by_name("BLK"));
	assert_null(vhu_device_by_name("disk"));
}

static void config_fields_fill_config_space(void **state)
{
	for (int i = 0; i < VHU_DEV_MAX; i++) {
		const struct vhu_device_row *device = vhu_device_row((enum vhu_device)i);
		const struct vhu_config_row *row;
		uint64_t bits = 0;
		size_t end = 0;

		for (unsigned bit = 0; bit < 64; bit++)
			if (vhu_feature_by_bit(VHU_NS_VIRTIO, bit, device->device))
				bits |= UINT64_C(1) << bit;
		for (size_t n = 0; (row = vhu_config_row(device->device, n)); n++) {
			assert_int_equal(row->offset, end);
			assert_true(row->size > 0);
			assert_int_equal(row->feature & ~bits, 0);
			assert_ptr_equal(vhu_config_by_name(device->device, row->field), row);
			end = row->offset + row->size;
		}
		assert_int_equal(end, device->config_size);
	}
	assert_int_equal(vhu_config_by_name(VHU_DEV_BLK, "num_queues")->offset, 34);
	assert_int_equal(vhu_config_by_name(VHU_DEV_NET, "max_virtqueue_pairs")->feature,
			 VHU_V(VIRTIO_NET_F_MQ) | VHU_V(VIRTIO_NET_F_RSS));
	assert_int_equal(vhu_config_by_name(VHU_DEV_SCSI, "num_queues")->offset, 0);
	assert_null(vhu_config_by_name(VHU_DEV_RNG, "num_queues"));
	assert_null(vhu_config_row(VHU_DEV_ANY, 0));
}

static void layouts_have_sizes(void **state)
{
	assert_int_equal(vhu_layout_size("blk_outhdr"), 16);
	assert_int_equal(vhu_layout_size("blk_range"), 16);
	assert_int_equal(vhu_layout_size("blk_status"), 1);
	assert_int_equal(vhu_layout_size("nothing"), 0);
	assert_string_equal(vhu_layout_field("blk_outhdr", 2)->field, "sector");
	assert_int_equal(vhu_layout_field("blk_outhdr", 2)->offset, 8);
	assert_null(vhu_layout_field("blk_outhdr", 3));
}

/* --- requirements ---------------------------------------------------------------------------- */

static void requirements_are_sane(void **state)
{
	uint64_t vbits = 0, pbits = 0;
	const struct vhu_feature_row *feature;

	for (size_t i = 0; (feature = vhu_feature_row(VHU_NS_VIRTIO, i)); i++)
		vbits |= UINT64_C(1) << feature->bit;
	for (size_t i = 0; (feature = vhu_feature_row(VHU_NS_PROTOCOL, i)); i++)
		pbits |= UINT64_C(1) << feature->bit;

	for (int i = 0; i < VHU_REQ_MAX; i++) {
		const struct vhu_req_row *row = vhu_req_row((enum vhu_req)i);
		size_t area = strlen(row->area);

		assert_int_equal(row->req, i);
		assert_ptr_equal(vhu_req_by_id(row->id), row);
		assert_string_equal(vhu_req_id_at(NULL, (size_t)i), row->id);
		assert_memory_equal(row->id, row->area, area);
		assert_int_equal(row->id[area], '-');
		filled(row->section);
		filled(row->text);
		filled(row->how);
		assert_in_range(row->level, 0, VHU_LEVEL_MAX - 1);
		assert_int_equal((row->v_on | row->v_off | row->v_any) & ~vbits, 0);
		assert_int_equal((row->p_on | row->p_off) & ~pbits, 0);
		assert_int_equal(row->v_on & row->v_off, 0);
		assert_int_equal(row->p_on & row->p_off, 0);
	}
	assert_string_equal(vhu_req_row(VHU_REQ_HDR_01)->id, "HDR-01");
	assert_null(vhu_req_row(VHU_REQ_MAX));
	assert_null(vhu_req_by_id("HDR-00"));
	assert_null(vhu_req_id_at(NULL, VHU_REQ_MAX));
	assert_string_equal(vhu_nearest_name("HDR-O1", vhu_req_id_at, NULL), "HDR-01");
}

static void breaches_name_requirements(void **state)
{
	for (int i = 0; i < VHU_BREACH_MAX; i++) {
		const struct vhu_breach_row *row = vhu_breach_row((enum vhu_breach)i);

		assert_int_equal(row->breach, i);
		filled(row->name);
		filled(row->summary);
		assert_non_null(vhu_req_row(row->req));
	}
	assert_int_equal(vhu_breach_row(VHU_BREACH_USED_TWICE)->req, VHU_REQ_RING_02);
	assert_null(vhu_breach_row(VHU_BREACH_MAX));
}

static void faults_name_requirements(void **state)
{
	const struct vhu_fault_row *row;
	size_t n = 0;

	for (; (row = vhu_fault_row(n)); n++) {
		filled(row->summary);
		filled(row->area);
		assert_true(row->n_reqs > 0);
		for (size_t i = 0; i < row->n_reqs; i++) {
			assert_non_null(vhu_req_row(row->reqs[i]));
			for (size_t k = 0; k < i; k++)
				assert_int_not_equal(row->reqs[k], row->reqs[i]);
		}
		for (const char *c = row->id; *c; c++)
			assert_true(*c == '-' || (*c >= 'a' && *c <= 'z') || (*c >= '0' && *c <= '9'));
		assert_ptr_equal(vhu_fault_by_id(row->id), row);
	}
	assert_null(vhu_fault_row(n + 1));
	assert_null(vhu_fault_by_id("no-such-fault"));
}

static void real_bugs_say_what_stands_for_them(void **state)
{
	const struct vhu_bug_row *row, *other;
	size_t n = 0;

	for (; (row = vhu_bug_row(n)); n++) {
		filled(row->project);
		filled(row->area);
		filled(row->ref);
		filled(row->title);
		assert_in_range(row->year, 2010, 2040);
		/* Both, or the reason why not. */
		assert_true((row->case_id && row->fault) == !row->why);
		for (size_t k = 0; k < n; k++) {
			other = vhu_bug_row(k);
			assert_int_not_equal(row->number, other->number);
		}
	}
	assert_true(n > 0);
	assert_null(vhu_bug_row(n + 1));
}

/* --- single names ---------------------------------------------------------------------------- */

static void constants_by_name(void **state)
{
	uint64_t value = 77;

	assert_true(vhu_constant_by_name("HEADER_REPLY", &value));
	assert_int_equal(value, 4);
	assert_true(vhu_constant_by_name("BLK_T_IN", &value));
	assert_int_equal(value, 0);
	value = 77;
	assert_false(vhu_constant_by_name("HEADER", &value));
	assert_int_equal(value, 77);
}

static void enums_have_names(void **state)
{
	assert_string_equal(vhu_level_name(VHU_LEVEL_MUST), "MUST");
	assert_string_equal(vhu_level_name(VHU_LEVEL_IMPLIED), "IMPLIED");
	assert_string_equal(vhu_channel_name(VHU_CHAN_MAIN), "main");
	assert_string_equal(vhu_channel_name(VHU_CHAN_BACKEND), "backend");
	assert_string_equal(vhu_channel_name(VHU_CHAN_GPU), "gpu");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(messages_are_found),
		cmocka_unit_test(ids_are_by_channel),
		cmocka_unit_test(older_names_are_known),
		cmocka_unit_test(messages_are_sane),
		cmocka_unit_test(fields_lie_in_order),
		cmocka_unit_test(bit_fields_lie_in_their_field),
		cmocka_unit_test(bit_fields_of_a_word_do_not_overlap),
		cmocka_unit_test(field_names_can_be_walked),
		cmocka_unit_test(namespaces_belong_to_fields),
		cmocka_unit_test(features_are_sane),
		cmocka_unit_test(features_by_name),
		cmocka_unit_test(features_by_bit_are_of_the_device),
		cmocka_unit_test(known_features_leave_out_opt_ins),
		cmocka_unit_test(bits_have_names),
		cmocka_unit_test(devices_are_found),
		cmocka_unit_test(config_fields_fill_config_space),
		cmocka_unit_test(layouts_have_sizes),
		cmocka_unit_test(requirements_are_sane),
		cmocka_unit_test(breaches_name_requirements),
		cmocka_unit_test(faults_name_requirements),
		cmocka_unit_test(real_bugs_say_what_stands_for_them),
		cmocka_unit_test(constants_by_name),
		cmocka_unit_test(enums_have_names),
	};

	return cmocka_run_group_tests_name("spec_tables", tests, NULL, NULL);
}
