/* Everything that can be wrong in a case file, and what is said about it, byte for byte. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "plan_case.h"

struct row {
	const char *start, *extra, *steps;	/* see work_case */
	const char *errors;
};

/* clang-format off */
static const struct row rows[] = {
	{"connected", "",
	 "{\"send\":\"GET_FEATURE\"}",
	 "x.json:4:9: /steps/0/send: no message 'GET_FEATURE'; did you mean 'GET_FEATURES'?\n"},
	{"connected", "",
	 "{\"sned\":\"GET_FEATURES\"}",
	 "x.json:4:2: /steps/0/sned: unknown key 'sned', and no verb; did you mean 'send'?\n"},
	{"connected", "",
	 "{\"send\":\"GET_FEATURES\",\"fence\":true}",
	 "x.json:4:24: /steps/0/fence: two verbs in one step: 'send' and 'fence'\n"},
	{"mapped", "",
	 "{\"send\":\"SET_VRING_NUM\",\"with\":{\"nmu\":4}}",
	 "x.json:4:33: /steps/0/with/nmu: SET_VRING_NUM has no field 'nmu'; did you mean 'num'?\n"},
	{"mapped", "",
	 "{\"send\":\"SET_VRING_NUM\",\"with\":{\"num\":4.5}}",
	 "x.json:4:39: /steps/0/with/num: expected an integer or an expression or a list or an object,"
	 " not a real number\n"},
	{"mapped", "",
	 "{\"send\":\"SET_VRING_NUM\",\"with\":{\"num\":-4}}",
	 "x.json:4:39: /steps/0/with/num: -4 is negative\n"},
	{"mapped", "",
	 "{\"send\":\"SET_VRING_NUM\",\"with\":{\"num\":9007199254740993}}",
	 "x.json:4:39: /steps/0/with/num: 9007199254740993 is above 2^53 - 1: write it as a string, \"0"
	 "x20000000000001\"\n"},
	{"mapped", "",
	 "{\"send\":\"SET_VRING_NUM\",\"with\":{\"num\":\"0x1ffffffff\"}}",
	 "x.json:4:39: /steps/0/with/num: 0x1ffffffff does not fit the 32 bits of 'num'\n"},
	{"mapped", "",
	 "{\"send\":\"SET_VRING_NUM\",\"with\":{\"num\":\"$nope\"}}",
	 "x.json:4:39: /steps/0/with/num: nothing sets $nope before this step\n"},
	{"mapped", "",
	 "{\"send\":\"SET_VRING_NUM\",\"with\":{\"num\":\"1 + 2 * 3\"}}",
	 "x.json:4:39: /steps/0/with/num: '*' behind '+' or '-': it is evaluated from left to right, s"
	 "o write the product first\n"},
	{"mapped", "",
	 "{\"send\":\"SET_VRING_NUM\",\"with\":{\"num\":\"1 + 2 | 3\"}}",
	 "x.json:4:39: /steps/0/with/num: arithmetic and bit operators in one expression\n"},
	{"mapped", "",
	 "{\"send\":\"SET_VRING_NUM\",\"with\":{\"num\":\"1 - 2\"}}",
	 "x.json:4:39: /steps/0/with/num: the value leaves the range of 64 bits without sign\n"},
	{"mapped", "",
	 "{\"send\":\"SET_VRING_NUM\",\"with\":{\"num\":\"1 +2\"}}",
	 "x.json:4:39: /steps/0/with/num: '1 +2' is no expression: terms (12, 0x1f, NAME, $variable) j"
	 "oined by + - * | & &~ ^ with one space on either side\n"},
	{"mapped", "",
	 "{\"send\":\"SET_VRING_NUM\",\"with\":{\"num\":100}}",
	 "x.json:4:1: /steps/0: the step breaks malformed:ring-size (no ring has 100 entries): say so "
	 "with 'breaks'\n"},
	{"mapped", "",
	 "{\"send\":\"SET_VRING_NUM\",\"with\":{\"num\":128},\"breaks\":\"malformed:ring-size\"}",
	 "x.json:4:1: /steps/0: the step is legal here, it does not break malformed:ring-size\n"},
	{"mapped", "",
	 "{\"send\":\"SET_VRING_NUM\",\"with\":{\"num\":100},\"breaks\":\"malformed:index\"}",
	 "x.json:4:1: /steps/0: the step does not break malformed:index, but malformed:ring-size (no r"
	 "ing has 100 entries)\n"},
	{"mapped", "",
	 "{\"send\":\"SET_VRING_NUM\",\"with\":{\"num\":100},\"breaks\":\"malformed:ringsize\"}",
	 "x.json:4:53: /steps/0/breaks: no kind of malformation 'ringsize'; did you mean 'ring-size'?\n"},
	{"mapped", "",
	 "{\"send\":\"SET_VRING_NUM\",\"with\":{\"num\":100},\"breaks\":\"RING-01\"}",
	 "x.json:4:53: /steps/0/breaks: RING-01 binds the back-end: 'breaks' names what we do wrong\n"},
	{"connected", "",
	 "{\"send\":\"SET_FEATURES\",\"with\":{\"u64\":[\"VIRTIO_F_VERSION_2\"]}}",
	 "x.json:4:39: /steps/0/with/u64/0: 'VIRTIO_F_VERSION_2' is no virtio feature; did you mean 'V"
	 "IRTIO_F_VERSION_1'?\n"},
	{"connected", "",
	 "{\"send\":\"SET_FEATURES\",\"with\":{\"u64\":[\"MQ\"]}}",
	 "x.json:4:39: /steps/0/with/u64/0: 'MQ' is a protocol feature, a virtio feature is wanted her"
	 "e\n"},
	{"connected", "",
	 "{\"send\":\"GET_FEATURES\",\"reply\":{\"u64\":{\"hsa\":[\"VIRTIO_F_VERSION_1\"]}}}",
	 "x.json:4:40: /steps/0/reply/u64/hsa: unknown key 'hsa'; did you mean 'has'?\n"},
	{"connected", "",
	 "{\"send\":\"SET_OWNER\",\"reply\":{\"u64\":1}}",
	 "x.json:4:21: /steps/0/reply: SET_OWNER has no reply of its own\n"},
	{"connected", "",
	 "{\"send\":\"GET_FEATURES\",\"expect\":\"closes\",\"reply\":{\"u64\":1}}",
	 "x.json:4:42: /steps/0/reply: 'reply' can't be matched: 'expect' takes no reply\n"},
	{"connected", "",
	 "{\"send\":\"GET_FEATURES\",\"expect\":\"replys\"}",
	 "x.json:4:33: /steps/0/expect: 'replys' is not one of reply, ack, nack, closes, silent, alive"
	 ", dead, none, accepts, rejects; did you mean 'reply'?\n"},
	{"connected", "",
	 "{\"send\":\"GET_FEATURES\",\"expect\":[\"reply\",\"reply\"]}",
	 "x.json:4:42: /steps/0/expect/1: the same as element 0\n"},
	{"connected", "",
	 "{\"send\":\"GET_FEATURES\",\"requirement\":\"HDR-99\"}",
	 "x.json:4:38: /steps/0/requirement: no requirement 'HDR-99'; did you mean 'HDR-09'?\n"},
	{"connected", "",
	 "{\"send\":\"GET_FEATURES\",\"conn\":\"b\"}",
	 "x.json:4:31: /steps/0/conn: no connection 'b' was opened\n"},
	{"connected", "",
	 "{\"raw\":\"00\"}",
	 "x.json:4:1: /steps/0: 'raw' needs 'breaks': what is wrong with these bytes (a right message "
	 "is a 'send')\n"},
	{"connected", "",
	 "{\"raw\":\"0g\"}",
	 "x.json:4:8: /steps/0/raw: not hex: two digits for each byte, spaces allowed between bytes\n"},
	{"connected", "",
	 "{\"raw\":\"01 00 00 00 01 00 00 00 00 00 00 00\",\"breaks\":\"malformed:size\"}",
	 "x.json:4:1: /steps/0: the step is legal here, it does not break malformed:size\n"},
	{"running", "",
	 "{\"io\":\"read\"}",
	 "x.json:4:1: /steps/0: 'io' speaks to a disk: \"needs\": {\"device\": [\"blk\"]} is missing\n"},
	{"running", "\"needs\":{\"device\":[\"blk\"]},",
	 "{\"io\":\"write\"}",
	 "x.json:4:1: /steps/0: the step changes the disk: the case needs \"writes\": true\n"},
	{"running", "\"needs\":{\"device\":[\"blk\"]},",
	 "{\"io\":\"read\",\"segments\":[512]}",
	 "x.json:4:25: /steps/0/segments: the segments hold 512 bytes, the request is of 4096\n"},
	{"running", "\"needs\":{\"device\":[\"blk\"]},",
	 "{\"io\":\"read\",\"queue\":9}",
	 "x.json:4:22: /steps/0/queue: ring 9: the case can count on 4 rings; \"needs\": {\"queues\": 10} "
	 "is missing\n"},
	{"connected", "",
	 "{\"target\":\"kill\"}",
	 "x.json:4:1: /steps/0: only a process of ours obeys 'target': \"needs\": {\"spawn\": true} is mis"
	 "sing\n"},
	{"connected", "",
	 "{\"send\":\"GET_FEATURES\",\"expect\":\"dead\"}",
	 "x.json:4:33: /steps/0/expect: only a process of ours can be seen to die: \"needs\": {\"spawn\": "
	 "true} is missing\n"},
	{"connected", "",
	 "{\"send\":\"GET_FEATURES\",\"expect\":\"closes\"},{\"send\":\"GET_FEATURES\"}",
	 "x.json:4:43: /steps/1: can't be reached: /steps/0 ends the connection, and no step opens it "
	 "again\n"},
	{"connected", "",
	 "{\"repeat\":0,\"do\":[{\"fence\":true}]}",
	 "x.json:4:11: /steps/0/repeat: 0 is too small: at least 1\n"},
	{"connected", "",
	 "{\"for_each\":\"x\",\"in\":[],\"do\":[{\"fence\":true}]}",
	 "x.json:4:22: /steps/0/in: the list is empty\n"},
	{"connected", "\"queues\":\"all\",",
	 "{\"for_each_queue\":\"q\",\"of\":\"unused\",\"do\":[{\"fence\":true}]}",
	 "x.json:4:28: /steps/0/of: the loop goes over no queue\n"},
	{"connected", "",
	 "{\"when\":{},\"do\":[{\"fence\":true}]}",
	 "x.json:4:9: /steps/0/when: the condition is empty: it always holds\n"},
	{"connected", "",
	 "{\"when\":{\"features\":[\"VIRTIO_F_VERSION_1\"]},\"do\":[]}",
	 "x.json:4:50: /steps/0/do: the list is empty\n"},
	{"connected", "\"macros\":{\"once\":{\"steps\":[{\"fence\":true}]}},",
	 "{\"use\":\"onec\"}",
	 "x.json:4:8: /steps/0/use: no macro 'onec'; did you mean 'once'?\n"
	 "x.json:2:49: /macros/once: nothing uses the macro 'once'\n"},
	{"connected", "\"macros\":{\"once\":{\"params\":{\"x\":null},\"steps\":[{\"fence\":true}]}},",
	 "{\"use\":\"once\"}",
	 "x.json:4:1: /steps/0: macro 'once' needs 'x'\n"},
	{"connected", "\"macros\":{\"once\":{\"params\":{\"x\":1},\"steps\":[{\"fence\":true}]}},",
	 "{\"use\":\"once\",\"with\":{\"y\":1}}",
	 "x.json:4:23: /steps/0/with/y: macro 'once' has no parameter 'y'\n"},
	{"connected", "\"macros\":{\"once\":{\"steps\":[{\"use\":\"once\"}]}},",
	 "{\"use\":\"once\"}",
	 "x.json:2:73: /macros/once/steps/0/use: macro 'once' uses itself (used by x.json /steps/0)\n"},
	{"connected", "\"macros\":{\"once\":{\"steps\":[{\"send\":\"SET_VRING_NMU\"}]}},",
	 "{\"use\":\"once\"}",
	 "x.json:2:74: /macros/once/steps/0/send: no message 'SET_VRING_NMU'; did you mean 'SET_VRING_"
	 "NUM'? (used by x.json /steps/0)\n"},
	{"connected", "",
	 "{\"await\":[\"x\"]}",
	 "x.json:4:11: /steps/0/await/0: no request before this step has the tag 'x'\n"},
	{"connected", "",
	 "{\"send\":\"GET_FEATURES\",\"save\":{\"f\":\"u64\"}},{\"repeat\":\"$f\",\"do\":[{\"fence\":true}]}",
	 "x.json:4:54: /steps/1/repeat: $f is known only in the run, the number of rounds has to be kn"
	 "own before\n"},
	{"connected", "",
	 "{\"when\":{\"features\":[\"VIRTIO_F_VERSION_1\"]},\"do\":[{\"send\":\"GET_FEATURES\",\"save\":{\"f\":\"u64\"}}"
	 "]},{\"assert\":[\"$f\",\"==\",1]}",
	 "x.json:4:107: /steps/1/assert/0: $f is saved only in a branch that may not run\n"},
	{"connected", "",
	 "{\"assert\":[1,\"=\",1]}",
	 "x.json:4:14: /steps/0/assert/1: expected an operator: ==, !=, <, <=, >, >=, has or lacks\n"},
	{"connected", "",
	 "{\"ring\":\"check\"}",
	 "x.json:4:1: /steps/0: nothing to check: give 'used', 'called', 'stale', 'error' or 'idle'\n"},
	{"connected", "",
	 "{\"ring\":\"start\",\"used\":1}",
	 "x.json:4:17: /steps/0/used: 'used' does not go with \"ring\": \"start\"\n"},
	{"connected", "",
	 "{\"ring\":\"poke\",\"at\":\"desc[0].nxt\",\"value\":1,\"breaks\":\"malformed:ring\"}",
	 "x.json:4:21: /steps/0/at: no place 'desc[0].nxt' in a ring; did you mean 'desc[#].next'?\n"},
	{"connected", "",
	 "{\"memory\":\"fill\",\"gpa\":1}",
	 "x.json:4:1: /steps/0: 'fill' needs 'len'\n"},
	{"connected", "",
	 "{\"log\":\"check\"}",
	 "x.json:4:1: /steps/0: nothing to check: give 'dirty' or 'only'\n"},
	{"connected", "",
	 "{\"fence\":\"SET_OWNER\"}",
	 "x.json:4:10: /steps/0/fence: a fence is a message that is always answered and changes nothin"
	 "g\n"},
	{"connected", "",
	 "{\"send\":\"SET_STATUS\"}",
	 "x.json:4:1: /steps/0: the step breaks STATUS-03 (SET_STATUS without the protocol feature tha"
	 "t it needs): say so with 'breaks'\n"},
	{"connected", "",
	 "{\"reconnect\":\"running\",\"keep\":[\"rings\"]}",
	 "x.json:4:31: /steps/0/keep: kept rings lie in memory: keep that, too\n"},
	{"connected", "",
	 "{\"reconnect\":\"runing\"}",
	 "x.json:4:14: /steps/0/reconnect: 'runing' is not one of connected, owned, negotiated, mapped"
	 ", running; did you mean 'running'?\n"},
	{"negotiated", "",
	 "{\"send\":\"SET_MEM_TABLE\",\"with\":{\"region\":[{\"gpa\":1}]}}",
	 "x.json:4:44: /steps/0/with/region/0/gpa: a region has no field 'gpa', only guest_phys_addr, "
	 "memory_size, userspace_addr, mmap_offset\n"},
	{"negotiated", "",
	 "{\"send\":\"SET_MEM_TABLE\",\"with\":{\"region\":[{},{}]},\"fds\":[\"memory\"]}",
	 "x.json:4:1: /steps/0: the step breaks MEM-02 (2 regions with 1 descriptors): say so with 'br"
	 "eaks'\n"},
	{"mapped", "",
	 "{\"send\":\"SET_VRING_CALL\",\"fds\":[\"socket\"]}",
	 "x.json:4:1: /steps/0: the step breaks malformed:fds (descriptor 0 of SET_VRING_CALL is of th"
	 "e wrong kind): say so with 'breaks'\n"},
	{"mapped", "",
	 "{\"send\":\"SET_VRING_CALL\",\"fds\":[\"sokcet\"]}",
	 "x.json:4:33: /steps/0/fds/0: 'sokcet' is not one of auto, call, kick, err, eventfd, memory, "
	 "log, inflight, socket, pipe, readonly, memfd:SIZE; did you mean 'socket'?\n"},
	{"conected", "",
	 "{\"fence\":true}",
	 "x.json:1:83: /start: 'conected' is not one of connected, owned, negotiated, mapped, running;"
	 " did you mean 'connected'?\n"},
	{"connected", "\"tilte\":1,",
	 "{\"fence\":true}",
	 "x.json:2:39: /tilte: unknown key 'tilte'; did you mean 'title'?\n"},
	{"connected", "\"title\":\"Twice given title\",",
	 "{\"fence\":true}",
	 "x.json:2:45: /: no JSON: duplicate object key near '\"title\"'\n"},
	{"connected", "\"needs\":{\"features\":[\"VIRTIO_F_VERSION_9\"],\"device\":[\"blkk\"],\"config\":{\"capactiy\":1}},",
	 "{\"fence\":true}",
	 "x.json:2:92: /needs/device/0: no device 'blkk'; did you mean 'blk'?\n"
	 "x.json:2:60: /needs/features/0: 'VIRTIO_F_VERSION_9' is no virtio feature; did you mean 'VIR"
	 "TIO_F_VERSION_1'?\n"
	 "x.json:2:110: /needs/config/capactiy: config space of blk has no field 'capactiy'; did you m"
	 "ean 'capacity'?\n"},
	{"connected", "\"profile\":\"plian\",",
	 "{\"fence\":true}",
	 "x.json:2:49: /profile: no profile 'plian'; did you mean 'plain'?\n"},
	{"connected", "\"queue_size\":100,",
	 "{\"fence\":true}",
	 "x.json:2:52: /queue_size: a split ring has a power of two of entries\n"},
	{"connected", "\"memory\":{\"size\":1000},",
	 "{\"fence\":true}",
	 "x.json:2:48: /memory: guest memory of 0x3e8 bytes: must be a multiple of 0x200000, at most 0"
	 "x10000000000\n"},
	{"connected", "\"vars\":{\"a\":\"$b\",\"b\":\"$a\",\"c\":1},",
	 "{\"assert\":[\"$a\",\"==\",1]}",
	 "x.json:2:60: /vars/b: $a stands for itself, or for too many others\n"},
	{"connected", "",
	 "{\"assert\":[\"$target.queue_nun\",\"==\",1]}",
	 "x.json:4:12: /steps/0/assert/0: nothing sets $target.queue_nun before this step; did you mea"
	 "n 'target.queue_num'?\n"},
	{"connected", "\"rows\":[{\"row\":\"a\"},{\"row\":\"a\"}],",
	 "{\"fence\":true}",
	 "x.json:2:66: /rows/1/row: two rows named 'a'\n"},
	{"connected", "\"rows\":[{\"message\":\"a\"}],",
	 "{\"fence\":true}",
	 "x.json:2:47: /rows/0: 'row' is missing\n"},
	{"running", "",
	 "{\"chain\":[{\"out\":{\"typ\":1},\"layout\":\"blk_outhdr\"},{\"in\":1,\"layout\":\"blk_stat\"},{\"desc\":{}}]}",
	 "x.json:4:19: /steps/0/chain/0/out/typ: layout 'blk_outhdr' has no field 'typ'; did you mean "
	 "'type'?\n"
	 "x.json:4:68: /steps/0/chain/1/layout: no layout 'blk_stat'\n"
	 "x.json:4:80: /steps/0/chain/2: a raw descriptor needs 'breaks': what is wrong with it\n"},
	{"connected", "",
	 "{\"connect\":\"b\",\"to\":\"owned\"},{\"connect\":\"b\",\"to\":\"owned\"},{\"send\":\"GET_FEATURES\",\"conn\":\"b\"}",
	 "x.json:4:30: /steps/1: the connection 'b' is open already\n"},
	{"connected", "",
	 "{\"send\":\"GET_FEATURES\",\"note\":5}",
	 "x.json:4:31: /steps/0/note: expected a string, not an integer\n"},
	{"connected", "",
	 "{\"note\":\"x\",\"foo\":1}",
	 "x.json:4:1: /steps/0: the step has no verb\n"},
	{"mapped", "",
	 "{\"for_each\":\"n\",\"in\":[128,100],\"do\":[{\"send\":\"SET_VRING_NUM\",\"with\":{\"num\":\"$n\"}}]}",
	 "x.json:4:38: /steps/0/do/0: the step breaks malformed:ring-size (no ring has 100 entries): s"
	 "ay so with 'breaks' (in /steps/0[n=100]/do/0)\n"},
	{"mapped", "",
	 "{\"for_each_queue\":\"q\",\"do\":[{\"send\":\"SET_VRING_NMU\",\"with\":{\"num\":\"$q\"}}]}",
	 "x.json:4:37: /steps/0/do/0/send: no message 'SET_VRING_NMU'; did you mean 'SET_VRING_NUM'?\n"},
	{"connected", "",
	 "{\"for_each\":\"v\",\"in\":[{\"a\":1}],\"do\":[{\"assert\":[\"$v.b\",\"==\",1]}]}",
	 "x.json:4:49: /steps/0/do/0/assert/0: $v has no member 'b'\n"},
	{"connected", "",
	 "{\"repeat\":2,\"do\":[{\"repeat\":2,\"do\":[{\"repeat\":2,\"do\":[{\"repeat\":2,\"do\":[{\"repeat\":2,\"do\":[{\""
	 "repeat\":2,\"do\":[{\"repeat\":2,\"do\":[{\"repeat\":2,\"do\":[{\"repeat\":2,\"do\":[{\"fence\":true}]}]}]}]}"
	 "]}]}]}]}]}",
	 "x.json:4:145: /steps/0/do/0/do/0/do/0/do/0/do/0/do/0/do/0/do/0: more than 8 blocks one in th"
	 "e other\n"},
	{"connected", "",
	 "{\"repeat\":65536,\"do\":[{\"fence\":true},{\"fence\":true}]}",
	 "x.json:4:23: /steps/0/do/0: more than 65536 steps after expansion\n"},
	{"connected", "",
	 "{\"for_each\":\"case\",\"in\":[1],\"do\":[{\"fence\":true}]}",
	 "x.json:4:2: /steps/0/for_each: 'case' is taken: $case.… are facts\n"},
	{"connected", "\"vars\":{\"x\":1},",
	 "{\"send\":\"GET_FEATURES\",\"save\":{\"x\":\"u64\"}}",
	 "x.json:4:32: /steps/0/save/x: 'x' is a constant here: save under another name\n"},
	{"connected", "",
	 "{\"send\":\"GET_FEATURES\",\"save\":{\"x\":\"u46\"}}",
	 "x.json:4:36: /steps/0/save/x: the reply to GET_FEATURES has no field 'u46'; did you mean 'u6"
	 "4'?\n"},
	{"connected", "",
	 "{\"send\":\"GET_FEATURES\",\"tolerate\":\"nakc\"}",
	 "x.json:4:35: /steps/0/tolerate: 'nakc' is not one of reply, ack, nack, closes, silent, alive"
	 ", dead, none, accepts, rejects; did you mean 'nack'?\n"},
	{"connected", "",
	 "{\"send\":\"BACKEND_CONFIG_CHANGE_MSG\"}",
	 "x.json:4:9: /steps/0/send: BACKEND_CONFIG_CHANGE_MSG belongs to the backend channel\n"},
	{"connected", "",
	 "{\"send\":\"99\",\"with\":{\"u64\":1},\"breaks\":\"malformed:request\"}",
	 "x.json:4:14: /steps/0/with: request 99 is unknown and has no fields: give its bytes as 'payl"
	 "oad'\n"},
	{"connected", "",
	 "{\"send\":\"99\"}",
	 "x.json:4:1: /steps/0: the step breaks malformed:request (no request has the id 99): say so w"
	 "ith 'breaks'\n"},
	{"connected", "",
	 "{\"recv\":\"GET_FEATURES\"}",
	 "x.json:4:9: /steps/0/recv: GET_FEATURES belongs to the main channel\n"},
	{"negotiated", "",
	 "{\"send\":\"GET_CONFIG\",\"reply\":{\"payload\":1}}",
	 "x.json:4:41: /steps/0/reply/payload: the field holds bytes: match it with {\"bytes\": …}, {\"pr"
	 "efix\": …} or {\"len\": …}\n"},
	{"negotiated", "",
	 "{\"send\":\"GET_CONFIG\",\"reply\":{\"payload\":{\"ge\":1}}}",
	 "x.json:4:42: /steps/0/reply/payload/ge: 'ge' does not apply to bytes\n"},
	{"negotiated", "",
	 "{\"send\":\"SET_CONFIG\",\"with\":{\"payload\":1}}",
	 "x.json:4:40: /steps/0/with/payload: 'payload' holds bytes: {\"bytes\": \"…\"}\n"},
	{"negotiated", "",
	 "{\"send\":\"SET_FEATURES\",\"reply\":{\"u64\":{\"mask\":1}},\"payload\":\"00\",\"with\":{}}",
	 "x.json:4:51: /steps/0/payload: 'payload' stands in place of 'with'\n"
	 "x.json:4:24: /steps/0/reply: SET_FEATURES has no reply of its own\n"},
	{"negotiated", "",
	 "{\"send\":\"GET_FEATURES\",\"reply\":{\"u64\":{\"mask\":1}}}",
	 "x.json:4:40: /steps/0/reply/u64/mask: 'mask' goes with 'eq': only these bits have to be equa"
	 "l\n"},
	{"negotiated", "",
	 "{\"send\":\"GET_FEATURES\",\"flags\":9,\"need_reply\":true}",
	 "x.json:4:24: /steps/0/flags: 'flags' is the whole word: it leaves nothing to 'need_reply'\n"},
	{"negotiated", "",
	 "{\"send\":\"GET_FEATURES\",\"flags\":\"0x100000001\",\"breaks\":\"malformed:flags\"}",
	 "x.json:4:32: /steps/0/flags: 0x100000001 does not fit the 32 bits of the flags\n"},
	{"negotiated", "",
	 "{\"send\":\"SET_FEATURES\",\"fds\":[\"auto\",\"call\"]}",
	 "x.json:4:30: /steps/0/fds: 'auto' stands alone: it is what the message takes\n"},
	{"negotiated", "",
	 "{\"send\":\"SET_OWNER\"}",
	 "x.json:4:1: /steps/0: the step breaks malformed:order (a second SET_OWNER on the connection)"
	 ": say so with 'breaks'\n"},
	{"connected", "\"needs\":{\"spawn\":true},",
	 "{\"target\":\"kill\"},{\"reconnect\":\"owned\"}",
	 "x.json:4:19: /steps/1: there is no target since /steps/0: \"target\": \"restart\" is missing\n"},
	{"connected", "\"needs\":{\"spawn\":true},",
	 "{\"target\":\"stop\",\"signal\":\"TERM\"}",
	 "x.json:4:18: /steps/0/signal: 'signal' goes with \"target\": \"kill\"\n"},
	{"running", "\"needs\":{\"device\":[\"blk\"]},",
	 "{\"io\":\"raw\"},{\"io\":\"read\",\"type\":1}",
	 "x.json:4:1: /steps/0: a raw request needs its 'type'\n"
	 "x.json:4:27: /steps/1/type: 'type' goes with \"io\": \"raw\"\n"},
	{"running", "",
	 "{\"ring\":\"poke\",\"at\":\"desc[0].next\",\"value\":1}",
	 "x.json:4:1: /steps/0: 'poke' needs 'breaks': it writes what no driver writes\n"},
	{"mapped", "",
	 "{\"memory\":\"remove\"}",
	 "x.json:4:1: /steps/0: 'remove' takes away the region added last, and none was added\n"},
	{"mapped", "",
	 "{\"memory\":\"add\",\"regions\":[{},{}]}",
	 "x.json:4:27: /steps/0/regions: 'add' speaks of one region\n"},
	{"mapped", "",
	 "{\"memory\":\"fill\",\"gpa\":0,\"len\":1,\"pattern\":\"stamp\"}",
	 "x.json:4:44: /steps/0/pattern: memory takes fill:AB or zero\n"},
	{"mapped", "",
	 "{\"memory\":\"map\",\"regions\":[{\"size\":0}]}",
	 "x.json:4:1: /steps/0: the step breaks malformed:address (a region of size 0): say so with 'b"
	 "reaks'\n"},
	{"mapped", "",
	 "{\"send\":\"SET_MEM_TABLE\",\"fds\":[\"memfd:4096\"]}",
	 "x.json:4:1: /steps/0: the step breaks malformed:fds (the file of descriptor 0 is shorter tha"
	 "n what SET_MEM_TABLE says): say so with 'breaks'\n"},
	{"running", "",
	 "{\"chain\":[{\"out\":\"00\",\"in\":1}]}",
	 "x.json:4:11: /steps/0/chain/0: an element is one of 'out', 'in' and 'desc'\n"},
	{"running", "",
	 "{\"chain\":[{\"out\":\"00\",\"match\":\"00\"}]}",
	 "x.json:4:23: /steps/0/chain/0/match: 'match' goes with 'in'\n"},
	{"running", "",
	 "{\"chain\":[{\"out\":{\"type\":\"0x100000000\"},\"layout\":\"blk_outhdr\"},{\"in\":1,\"layout\":\"blk_outhdr\""
	 ",\"match\":{\"type\":1}}]}",
	 "x.json:4:26: /steps/0/chain/0/out/type: 0x100000000 does not fit the 4 bytes of 'type'\n"
	 "x.json:4:70: /steps/0/chain/1/in: 'blk_outhdr' has 16 bytes, there is room for 1\n"},
	{"running", "",
	 "{\"log\":\"check\",\"dirty\":[{\"gpa\":1}]},{\"log\":\"clear\",\"only\":true}",
	 "x.json:4:25: /steps/0/dirty/0: give 'buffers', 'ring', or 'gpa' with 'len'\n"
	 "x.json:4:52: /steps/1/only: 'only' does not go with \"log\": \"clear\"\n"},
	{"running", "",
	 "{\"log\":\"check\",\"dirty\":[{\"buffers\":\"r\"}]}",
	 "x.json:4:36: /steps/0/dirty/0/buffers: no request before this step has the tag 'r'\n"},
	{"running", "",
	 "{\"inflight\":\"check\"},{\"inflight\":\"set\",\"entries\":1}",
	 "x.json:4:1: /steps/0: nothing to check: give 'entries' or 'version'\n"
	 "x.json:4:40: /steps/1/entries: 'entries' does not go with \"inflight\": \"set\"\n"},
	{"running", "",
	 "{\"ring\":\"start\",\"base\":{\"ge\":1}}",
	 "x.json:4:24: /steps/0/base: 'start' sets one base: give a value\n"},
	{"running", "",
	 "{\"ring\":\"start\"}",
	 "x.json:4:1: /steps/0: the step breaks malformed:order (SET_VRING_NUM on a ring that is start"
	 "ed), malformed:order (SET_VRING_BASE on a ring that is started): say so with 'breaks'\n"},
	{"connected", "\"needs\":{\"device\":[\"blk\"],\"features\":[\"VIRTIO_NET_F_RSS_CONTEXT\"]},",
	 "{\"fence\":true}",
	 "x.json:2:77: /needs/features/0: 'VIRTIO_NET_F_RSS_CONTEXT' is no virtio feature; did you mea"
	 "n 'VIRTIO_NET_F_RSC_EXT'?\n"},
	{"connected", "\"tags\":[\"A b\"],",
	 "{\"fence\":true}",
	 "x.json:2:47: /tags/0: 'A b' is not a word of lower-case letters, digits and -\n"},
	{"connected", "\"macros\":{\"m\":{\"steps\":[{\"use\":\"n\"}]},\"n\":{\"steps\":[{\"use\":\"m\"}]}},",
	 "{\"use\":\"m\"}",
	 "x.json:2:98: /macros/n/steps/0/use: macro 'm' uses itself (used by x.json /macros/m/steps/0)\n"},
	{"connected", "",
	 "{\"send\":\"GET_FEATURES\",\"save\":{\"f\":\"u64\"}},{\"for_each_queue\":\"q\",\"of\":[\"$f\"],\"do\":[{\"fence\":"
	 "true}]}",
	 "x.json:4:72: /steps/1/of/0: $f is known only in the run, a queue has to be known before\n"},
	{"connected", "",
	 "{\"for_each_queue\":\"q\",\"of\":{\"from\":3,\"to\":1},\"do\":[{\"fence\":true}]}",
	 "x.json:4:28: /steps/0/of: the loop goes over no queue\n"},
	{"connected", "",
	 "{\"when\":{\"protocol_features\":[\"REPLY_AKC\"]},\"do\":[{\"fence\":true}],\"else\":[{\"send\":\"NONE\"}]}",
	 "x.json:4:31: /steps/0/when/protocol_features/0: 'REPLY_AKC' is no protocol feature; did you "
	 "mean 'REPLY_ACK'?\n"
	 "x.json:4:83: /steps/0/else/0/send: no message 'NONE'\n"},
	{"connected", "",
	 "{\"send\":\"GET_FEATURES\",\"breaks\":\"malformed:order\"}",
	 "x.json:4:1: /steps/0: the step is legal here, it does not break malformed:order\n"},
	{"connected", "",
	 "{\"close\":\"main\"},{\"fence\":true}",
	 "x.json:4:18: /steps/1: can't be reached: /steps/0 ends the connection, and no step opens it "
	 "again\n"},
	{"connected", "",
	 "{\"fence\":true,\"within_ms\":0},{\"send\":\"GET_FEATURES\",\"pieces\":[]}",
	 "x.json:4:27: /steps/0/within_ms: 0 is too small: at least 1\n"
	 "x.json:4:62: /steps/1/pieces: the list is empty\n"},
	{"connected", "",
	 "5",
	 "x.json:4:1: /steps/0: expected an object, not an integer\n"},
};
/* clang-format on */

static void test_table(void **state)
{
	struct work w;
	size_t wrong = 0;

	work_start(&w);
	for (size_t i = 0; i < VHU_ARRAY_SIZE(rows); i++) {
		work_case("x.json", rows[i].start, rows[i].extra, rows[i].steps);
		assert_int_equal(work_load(&w, ".", "x.json"), 0);
		if (!strcmp(vhu_buf_text(&w.text), rows[i].errors) && vhu_case_set_count(w.set) == 0)
			continue;
		print_error("row %zu: %s\n  expected:\n%s  actual:\n%s\n", i, rows[i].steps, rows[i].errors, vhu_buf_text(&w.text));
		wrong++;
	}
	work_end(&w);
	assert_int_equal(wrong, 0);
}

/* Files that are no case at all. */
static void test_files(void **state)
{
	static const struct {
		const char *text, *errors;
	} files[] = {
		{"", "x.json:1:1: /: no JSON: '[' or '{' expected near end of file\n"},
		{"{\"title\": 1,\n \"why\" 2}", "x.json:2:8: /: no JSON: ':' expected near '2'\n"},
		{"[1]", "x.json:1:1: /: expected an object, not a list\n"},
		{"\xef\xbb\xbf{}", "x.json:1:1: /: the file starts with a byte order mark: it has to be plain UTF-8\n"},
		{"{\"a\": 9223372036854775808}", "x.json:1:25: /: no JSON: too big integer near '9223372036854775808'\n"},
		{"{}", "x.json:1:1: /: 'title' is missing\nx.json:1:1: /: 'why' is missing\n"
		       "x.json:1:1: /: 'requirements' is missing\nx.json:1:1: /: 'start' is missing\n"
		       "x.json:1:1: /: 'steps' is missing\n"},
		{"{\"title\": \"It should hold whatever comes\", \"why\": \"too short\", \"requirements\": [\"HDR-1\"],\n"
		 " \"start\": \"owned\", \"steps\": [{\"fence\": true}]}",
		 "x.json:1:51: /why: 9 characters, at least 20 are needed\n"
		 "x.json:1:11: /title: a title states what holds: no 'should'\n"
		 "x.json:1:81: /requirements/0: no requirement 'HDR-1'; did you mean 'HDR-01'?\n"},
		{"{\"macros\": {\"M\": {\"steps\": []}}, \"tags\": []}",
		 "x.json:1:13: /macros/M: 'M' is not a name of lower-case letters, digits and _\n"
		 "x.json:1:28: /macros/M/steps: the list is empty\n"
		 "x.json:1:34: /tags: unknown key 'tags'\n"},
	};
	struct work w;

	work_start(&w);
	for (size_t i = 0; i < VHU_ARRAY_SIZE(files); i++) {
		work_write("x.json", files[i].text);
		assert_int_equal(work_load(&w, ".", "x.json"), 0);
		assert_string_equal(vhu_buf_text(&w.text), files[i].errors);
		assert_int_equal(vhu_case_set_count(w.set), 0);
	}
	work_end(&w);
}

static void test_size(void **state)
{
	static char text[(1 << 20) + 2];
	struct work w;

	memset(text, ' ', sizeof(text));
	text[0] = '[';
	work_start(&w);
	/* At the limit it is read, and is no case; above it is not read. */
	text[(1 << 20) - 1] = ']';
	work_bytes("x.json", text, 1 << 20);
	assert_int_equal(work_load(&w, ".", "x.json"), 0);
	assert_string_equal(vhu_buf_text(&w.text), "x.json:1:1: /: expected an object, not a list\n");
	work_bytes("x.json", text, (1 << 20) + 1);
	assert_int_equal(work_load(&w, ".", "x.json"), 0);
	assert_string_equal(vhu_buf_text(&w.text), "x.json:1:1: /: the file is larger than 1048576 bytes\n");
	work_end(&w);
}

/* All errors of all files in one run; files without errors are cases all the same. */
static void test_all_files(void **state)
{
	struct work w;

	work_start(&w);
	work_folder("c");
	work_folder("c/lib");
	work_case("c/a.json", "owned", "", "{\"send\": \"GET_FEATURE\"}, {\"send\": \"SET_OWNERS\"}");
	work_case("c/b.json", "owned", "", "{\"fence\": true}");
	work_case("c/c.json", "owned", "", "{\"use\": \"m\"}");
	work_write("c/d.json", "{");
	work_write("c/lib/l.json", "{\"macros\": {\"m\": {\"steps\": [{\"fenec\": true}]}}}");
	assert_int_equal(work_load(&w, "c", "c"), 0);
	assert_string_equal(vhu_buf_text(&w.text),
			    "c/lib/l.json:1:30: /macros/m/steps/0/fenec: unknown key 'fenec', and no verb; did you mean 'fence'?\n"
			    "c/a.json:4:10: /steps/0/send: no message 'GET_FEATURE'; did you mean 'GET_FEATURES'?\n"
			    "c/a.json:4:35: /steps/1/send: no message 'SET_OWNERS'; did you mean 'SET_OWNER'?\n"
			    "c/d.json:1:1: /: no JSON: string or '}' expected near end of file\n");
	assert_int_equal(w.diags.errors, 4);
	/* c/c.json uses what is broken. */
	assert_int_equal(vhu_case_set_count(w.set), 1);
	assert_string_equal(vhu_case_set_info(w.set, 0)->id, "b");
	work_end(&w);
}

static void test_no_such_path(void **state)
{
	struct work w;

	work_start(&w);
	work_folder("c");
	work_folder("c/blk");
	work_case("c/blk/read.json", "owned", "\"rows\": [{\"row\": \"one\"}, {\"row\": \"two\"}],", "{\"fence\": true}");
	assert_int_equal(work_load(&w, "c", "blk/raed"), -2);
	assert_string_equal(w.err.text, "no file, folder or case 'blk/raed'; did you mean 'blk/read'?");
	assert_int_equal(work_load(&w, "c", "blk/read#tow"), -2);
	assert_string_equal(w.err.text, "c/blk/read.json has no row 'tow'; did you mean 'two'?");
	assert_int_equal(work_load(&w, "nowhere", "x"), -2);
	work_end(&w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_table), cmocka_unit_test(test_files), cmocka_unit_test(test_size),
		cmocka_unit_test(test_all_files), cmocka_unit_test(test_no_such_path),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
