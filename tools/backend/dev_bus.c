/*
 * Devices with small requests of a fixed form: entropy, I2C, GPIO, CAN, SPI, real-time clock.
 */
#include <string.h>
#include <sys/random.h>
#include <time.h>

#include "buffers.h"
#include "dev_small.h"
#include "fault.h"

/* --- entropy -------------------------------------------------------------------------------------- */

static int64_t rng_execute(struct session *s, struct ring *r, struct chain *c)
{
	uint8_t bytes[256];
	size_t len = c->in_len < sizeof(bytes) ? c->in_len : sizeof(bytes);

	(void)r;
	if (getrandom(bytes, len, 0) != (ssize_t)len || fault(queues_rng_empty))
		return 0;
	return chain_answer(s, c, bytes, len);
}

/* There is none; a fault shows what the program's memory happens to hold. */
static unsigned rng_config(struct session *s, uint8_t *to)
{
	(void)s;
	to[0] = fault(cfg_rng_garbage);
	return fault(cfg_rng_garbage) ? sizeof(uint32_t) : 0;
}

const struct device device_rng = {
	SMALL_DEVICE("rng", "rng"), .features = small_no_features, .config = rng_config,
	.set_config = small_refuse, .execute = rng_execute,
};

/* --- I2C: one device with a register file, at one address --------------------------------------------- */

enum {
	I2C_ADDRESS = 0x20 << 1,
	I2C_FILE = 256,
	I2C_ERR = 1,
};

static uint64_t i2c_features(void)
{
	return V(VIRTIO_I2C_F_ZERO_LENGTH_REQUEST);
}

static int64_t i2c_execute(struct session *s, struct ring *r, struct chain *c)
{
	enum { HEADER = LAY_i2c_header_flags + LAYLEN_i2c_header_flags };
	static uint8_t file[I2C_FILE];
	uint8_t header[HEADER], in[I2C_FILE + 1] = {0};
	uint64_t room = c->in_len;

	(void)r;
	if (!room)
		return 0;
	if (chain_gather(c, header, HEADER) != HEADER || LAYOUT(header, i2c_header, addr) != I2C_ADDRESS ||
	    room > sizeof(in)) {
		in[room > sizeof(in) ? 0 : room - 1] = I2C_ERR;
		return chain_answer(s, c, in, room > sizeof(in) ? 1 : room);
	}
	chain_gather(c, file, sizeof(file));
	memcpy(in, file, room - 1);
	if (fault(queues_i2c_short) && room > 2) {
		chain_answer(s, c, in, room);
		return (int64_t)room / 2;
	}
	return chain_answer(s, c, in, room);
}

const struct device device_i2c = {
	SMALL_DEVICE("i2c", "i2c"), .features = i2c_features, .config = small_no_config,
	.set_config = small_refuse, .execute = i2c_execute,
};

/* --- GPIO: eight lines without names ------------------------------------------------------------------ */

enum {
	GPIO_LINES = 8,
	GPIO_GET_DIRECTION = 2,
	GPIO_SET_DIRECTION,
	GPIO_GET_VALUE,
	GPIO_SET_VALUE,
	GPIO_ERR = 1,
};

static unsigned gpio_config(struct session *s, uint8_t *to)
{
	(void)s;
	PUT_CONFIG(to, GPIO_ngpio, fault(cfg_gpio_lines) ? 0 : GPIO_LINES);
	return CONFIG_SIZE_GPIO;
}

static int64_t gpio_execute(struct session *s, struct ring *r, struct chain *c)
{
	enum {
		REQUEST = LAY_gpio_request_value + LAYLEN_gpio_request_value,
		RESPONSE = LAY_gpio_response_value + LAYLEN_gpio_response_value
	};
	static uint8_t direction[GPIO_LINES], level[GPIO_LINES];
	uint8_t request[REQUEST], response[RESPONSE] = {GPIO_ERR};
	uint64_t line, value;

	(void)r;
	if (chain_gather(c, request, REQUEST) != REQUEST)
		return chain_answer(s, c, response, RESPONSE);
	line = LAYOUT(request, gpio_request, gpio);
	value = LAYOUT(request, gpio_request, value);
	if (line < GPIO_LINES) {
		response[0] = 0;
		switch (LAYOUT(request, gpio_request, type)) {
		case GPIO_GET_DIRECTION:
			response[1] = direction[line];
			break;
		case GPIO_SET_DIRECTION:
			direction[line] = (uint8_t)value;
			break;
		case GPIO_GET_VALUE:
			response[1] = level[line];
			break;
		case GPIO_SET_VALUE:
			level[line] = (uint8_t)value;
			break;
		default:
			response[0] = GPIO_ERR;
		}
	}
	return chain_answer(s, c, response, fault(queues_gpio_value) ? 1 : RESPONSE);
}

/* Interrupts are not offered: their queue is no queue. */
static bool gpio_keeps(const struct session *s, const struct ring *r)
{
	(void)s;
	return r->index && !fault(queues_without_feature);
}

const struct device device_gpio = {
	SMALL_DEVICE("gpio", "gpio"), .features = small_no_features, .config = gpio_config,
	.set_config = small_refuse,   .execute = gpio_execute, .keeps = gpio_keeps,
};

/* --- CAN: a controller whose frames nobody hears -------------------------------------------------------- */

enum {
	CAN_QUEUE_TX = 0,
	CAN_QUEUE_RX = 1,
	CAN_QUEUE_CONTROL = 2,
	CAN_OK = 0,
	CAN_NOT_OK = 1,
	CAN_TX = 1,
	CAN_START = 0x0201,
	CAN_STOP = 0x0202,
	CAN_FLAG_FD = 0x4000,
	CAN_FLAG_RTR = 0x2000,
};

static uint64_t can_features(void)
{
	return V(VIRTIO_CAN_F_CAN_CLASSIC) | V(VIRTIO_CAN_F_CAN_FD) | V(VIRTIO_CAN_F_RTR_FRAMES);
}

static unsigned can_config(struct session *s, uint8_t *to)
{
	(void)s;
	(void)to;
	return CONFIG_SIZE_CAN;
}

static bool can_frame_ok(const struct session *s, uint64_t flags)
{
	uint64_t needs = flags & CAN_FLAG_FD ? V(VIRTIO_CAN_F_CAN_FD) : V(VIRTIO_CAN_F_CAN_CLASSIC);

	if (flags & CAN_FLAG_RTR)
		needs |= V(VIRTIO_CAN_F_RTR_FRAMES);
	return !(needs & ~s->features);
}

static int64_t can_execute(struct session *s, struct ring *r, struct chain *c)
{
	enum {
		FRAME = LAY_can_frame_can_id + LAYLEN_can_frame_can_id,
		CONTROL = LAYLEN_can_control_msg_type
	};
	uint8_t request[FRAME] = {0}, result = CAN_NOT_OK;
	size_t len = chain_gather(c, request, sizeof(request));
	uint64_t type = LAYOUT(request, can_control, msg_type);

	if (r->index == CAN_QUEUE_RX)
		return NO_COMPLETION;
	if (r->index == CAN_QUEUE_TX && len == FRAME && type == CAN_TX &&
	    (fault(queues_can_frame) || can_frame_ok(s, LAYOUT(request, can_frame, flags))))
		result = CAN_OK;
	if (r->index == CAN_QUEUE_CONTROL && len >= CONTROL && (type == CAN_START || type == CAN_STOP))
		result = CAN_OK;
	return fault(queues_can_result) ? 0 : chain_answer(s, c, &result, sizeof(result));
}

const struct device device_can = {
	SMALL_DEVICE("can", "can"), .features = can_features, .config = can_config,
	.set_config = small_refuse, .execute = can_execute,
};

/* --- SPI: one chip that sends back what it got -------------------------------------------------------------
 */

enum {
	SPI_CHIPS = 1,
	SPI_PARAM_ERR = 1,
	SPI_MODES = 0x1f, /* any phase, any polarity */
	SPI_BYTES = 256,
};

static unsigned spi_config(struct session *s, uint8_t *to)
{
	(void)s;
	PUT_CONFIG(to, SPI_cs_max_number, SPI_CHIPS);
	PUT_CONFIG(to, SPI_tx_nbits_supported, fault(cfg_spi_reserved) ? 0x80 : 0);
	PUT_CONFIG(to, SPI_mode_func_supported, SPI_MODES);
	return CONFIG_SIZE_SPI;
}

static int64_t spi_execute(struct session *s, struct ring *r, struct chain *c)
{
	enum { HEAD = LAY_spi_head_cs_change_delay_inactive + LAYLEN_spi_head_cs_change_delay_inactive };
	uint8_t head[HEAD], in[SPI_BYTES + 1] = {0};
	uint64_t room = c->in_len < sizeof(in) ? c->in_len : sizeof(in);

	(void)r;
	if (!room)
		return 0;
	if (chain_gather(c, head, HEAD) != HEAD ||
	    (LAYOUT(head, spi_head, chip_select_id) >= SPI_CHIPS && !fault(queues_spi_select)))
		in[room - 1] = SPI_PARAM_ERR;
	else
		chain_gather(c, in, room - 1);
	return chain_answer(s, c, in, room);
}

const struct device device_spi = {
	SMALL_DEVICE("spi", "spi"), .features = small_no_features, .config = spi_config,
	.set_config = small_refuse, .execute = spi_execute,
};

/* --- real-time clock: one UTC clock
 * -------------------------------------------------------------------------- */

enum {
	RTC_READ = 0x0001,
	RTC_CFG = 0x1000,
	RTC_OPNOTSUPP = 2,
	RTC_NODEV = 3,
	RTC_INVAL = 4,
	RTC_CLOCKS = 1,
	RTC_NS = 1000000000,
};

static int64_t rtc_execute(struct session *s, struct ring *r, struct chain *c)
{
	enum {
		REQUEST = LAY_rtc_request_clock_id + LAYLEN_rtc_request_clock_id,
		HEAD = LAY_rtc_request_msg_type + LAYLEN_rtc_request_msg_type,
		RESPONSE_HEAD = LAY_rtc_response_head_reserved2 + LAYLEN_rtc_response_head_reserved2,
		RESPONSE = RESPONSE_HEAD + sizeof(uint64_t)
	};
	uint8_t request[REQUEST] = {0}, response[RESPONSE] = {0};
	size_t len = chain_gather(c, request, sizeof(request));
	uint64_t type = LAYOUT(request, rtc_request, msg_type);
	struct timespec now;
	uint64_t value = RTC_CLOCKS;

	(void)r;
	clock_gettime(CLOCK_REALTIME, &now);
	if (len < HEAD || c->in_len < RESPONSE_HEAD)
		response[0] = RTC_INVAL;
	else if (type != RTC_READ && type != RTC_CFG)
		response[0] = fault(queues_rtc_unknown) ? 0 : RTC_OPNOTSUPP;
	else if (type == RTC_READ && LAYOUT(request, rtc_request, clock_id) >= RTC_CLOCKS)
		response[0] = RTC_NODEV;
	if (type == RTC_READ)
		value = (uint64_t)now.tv_sec * RTC_NS + (uint64_t)now.tv_nsec;
	value = htole64(response[0] ? 0 : value);
	memcpy(response + RESPONSE_HEAD, &value, sizeof(value));
	if (fault(queues_rtc_reserved))
		response[LAY_rtc_response_head_reserved0] = 1;
	return chain_answer(s, c, response, response[0] ? RESPONSE_HEAD : RESPONSE);
}

const struct device device_rtc = {
	SMALL_DEVICE("rtc", "rtc"), .features = small_no_features, .config = small_no_config,
	.set_config = small_refuse, .execute = rtc_execute,
};
