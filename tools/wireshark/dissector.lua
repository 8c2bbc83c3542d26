-- The code of the dissector; gen-dissector puts the tables before it.

local proto = Proto("vhost_user", "vhost-user")
local f = {}
local all = {}

local function field(key, make)
	f[key] = make
	all[#all + 1] = make
end

local DIRECTIONS = {[0] = "none", [1] = "front-end to back-end", [2] = "back-end to front-end"}
local FLAGS = {"truncated", "lost_before", "partial", "malformed", "big_endian", "fds_lost", "intended", "split", "joined",
	"scrubbed"}
local META, LIFE, RING, MEM = 0, 5, 3, 4

-- What the recorder says of the message.
field("r_version", ProtoField.uint8("vhost_user.record.version", "Version of the record"))
field("r_direction", ProtoField.uint8("vhost_user.record.direction", "Direction", base.DEC, DIRECTIONS))
field("r_hdrlen", ProtoField.uint16("vhost_user.record.hdrlen", "Length of the record's header"))
field("r_channel", ProtoField.uint8("vhost_user.record.channel", "Channel", base.DEC, names.channel))
field("r_tap", ProtoField.uint8("vhost_user.record.tap", "Seen by", base.DEC, names.tap))
field("r_flags", ProtoField.uint16("vhost_user.record.flags", "Flags", base.HEX))
for bit, name in ipairs(FLAGS) do
	field("r_flag_" .. name, ProtoField.bool("vhost_user.record." .. name, name, 16, nil, 2 ^ (bit - 1)))
end
field("r_connection", ProtoField.uint32("vhost_user.connection", "Connection"))
field("r_orig_len", ProtoField.uint32("vhost_user.record.orig_len", "Length of the message"))
field("r_stream_off", ProtoField.uint64("vhost_user.record.stream_off", "Offset in the stream"))
field("r_tgid", ProtoField.uint32("vhost_user.record.tgid", "Sending process"))
field("r_tid", ProtoField.uint32("vhost_user.record.tid", "Sending thread"))
field("r_nfds", ProtoField.uint16("vhost_user.nfds", "Descriptors"))
field("r_kind", ProtoField.uint16("vhost_user.record.kind", "Kind"))
field("r_seq", ProtoField.uint32("vhost_user.record.seq", "Number of the record"))
field("r_snd_ino", ProtoField.uint64("vhost_user.record.snd_ino", "Inode of the sending socket"))
field("r_rcv_ino", ProtoField.uint64("vhost_user.record.rcv_ino", "Inode of the receiving socket"))
field("fd", ProtoField.none("vhost_user.fd", "Descriptor"))
field("fd_kind", ProtoField.uint8("vhost_user.fd.kind", "Kind", base.DEC, names.fd))
field("fd_number", ProtoField.uint32("vhost_user.fd.number", "Number with the sender"))
field("fd_size", ProtoField.uint64("vhost_user.fd.size", "Size", base.HEX_DEC))
field("fd_seals", ProtoField.uint16("vhost_user.fd.seals", "Seals", base.HEX))
field("fd_dev", ProtoField.uint64("vhost_user.fd.dev", "Device"))
field("fd_inode", ProtoField.uint64("vhost_user.fd.inode", "Inode"))
field("comm", ProtoField.string("vhost_user.comm", "Sender"))
field("peer_comm", ProtoField.string("vhost_user.peer_comm", "Receiver"))
field("path", ProtoField.string("vhost_user.path", "Path of the socket"))
field("step", ProtoField.string("vhost_user.step", "Step of the case"))
field("finding", ProtoField.string("vhost_user.finding", "Finding"))
field("text", ProtoField.string("vhost_user.text", "Remark"))
field("errno", ProtoField.int32("vhost_user.errno", "Error"))
field("recvs", ProtoField.bytes("vhost_user.recvs", "Lengths of the pieces it came in"))
field("region", ProtoField.bytes("vhost_user.record.region", "Region"))

-- The message.
field("name", ProtoField.string("vhost_user.name", "Message"))
field("h_request", ProtoField.uint32("vhost_user.header.request", "Request"))
field("h_flags", ProtoField.uint32("vhost_user.header.flags", "Flags", base.HEX))
field("h_version", ProtoField.uint32("vhost_user.header.version", "Version", base.DEC, nil, VERSION_MASK))
field("h_reply", ProtoField.bool("vhost_user.reply", "Reply", 32, nil, REPLY))
field("h_need_reply", ProtoField.bool("vhost_user.need_reply", "Needs a reply", 32, nil, NEED_REPLY))
field("h_size", ProtoField.uint32("vhost_user.header.size", "Size of the payload"))
field("payload", ProtoField.bytes("vhost_user.payload", "Payload"))
field("feature", ProtoField.string("vhost_user.feature", "Bit"))
field("json", ProtoField.string("vhost_user.json", "About the capture"))
field("life", ProtoField.uint16("vhost_user.life", "Event", base.DEC, names.life))
field("ring", ProtoField.uint16("vhost_user.ring", "Event", base.DEC, names.ring))
field("queue", ProtoField.uint32("vhost_user.ring.queue", "Queue"))
field("value", ProtoField.uint64("vhost_user.ring.value", "Value"))
field("status", ProtoField.uint32("vhost_user.life.status", "Status of the process", base.HEX))
field("lost", ProtoField.uint64("vhost_user.life.lost", "Records that were lost"))
field("content", ProtoField.bytes("vhost_user.content", "Content"))

-- Fields of payloads: one of each name, whatever payload it stands in, wide enough for all of them. Words are
-- addresses, sizes and sets of bits, and read best in hex.
local function add_number(name, words)
	local key = "p_" .. name
	if not f[key] then
		field(key, ProtoField.uint64("vhost_user." .. name, name, words[name] and base.HEX_DEC or base.DEC))
	end
end

local words = {}
for _, payload in pairs(payloads) do
	for _, row in ipairs(payload.fields) do
		words[row.name] = words[row.name] or row.size == 8
	end
end
for _, payload in pairs(payloads) do
	for _, row in ipairs(payload.fields) do
		if row.kind == "bytes" then
			if row.name == "payload" then
				f.p_payload = f.payload
			elseif not f["p_" .. row.name] then
				field("p_" .. row.name, ProtoField.bytes("vhost_user." .. row.name, row.name))
			end
		elseif row.kind ~= "region" then
			add_number(row.name, words)
		end
	end
	for _, row in ipairs(payload.bits) do
		add_number(row.name, words)
	end
end

proto.fields = all

local expert_short = ProtoExpert.new("vhost_user.short", "It ends before its last field", expert.group.MALFORMED,
	expert.severity.ERROR)
local expert_unknown = ProtoExpert.new("vhost_user.unknown", "An unknown message or payload", expert.group.UNDECODED,
	expert.severity.WARN)
local expert_finding = ProtoExpert.new("vhost_user.broken_rule", "A rule is broken", expert.group.PROTOCOL,
	expert.severity.WARN)
proto.experts = {expert_short, expert_unknown, expert_finding}

-- --- the record -------------------------------------------------------------------------------------

local function add_flags(tree, tvb)
	local item = tree:add_le(f.r_flags, tvb(6, 2))
	for _, name in ipairs(FLAGS) do
		item:add_le(f["r_flag_" .. name], tvb(6, 2))
	end
end

local function add_fd(tree, value)
	if value:len() ~= 32 then
		return "?"
	end
	local kind, valid = value(0, 1):uint(), value(1, 1):uint()
	local has = function(bit)
		return math.floor(valid / bit) % 2 == 1
	end
	local name = names.fd[kind] or tostring(kind)
	local item = tree:add(f.fd, value)
	item:set_text("Descriptor: " .. name)
	item:add(f.fd_kind, value(0, 1))
	item:add_le(f.fd_number, value(4, 4))
	if has(1) then
		item:add_le(f.fd_size, value(8, 8))
	end
	if has(2) then
		item:add_le(f.fd_dev, value(16, 8))
		item:add_le(f.fd_inode, value(24, 8))
	end
	if has(4) then
		item:add_le(f.fd_seals, value(2, 2))
	end
	return name
end

local TLVS = {[2] = "comm", [3] = "peer_comm", [4] = "path", [5] = "step", [6] = "finding", [7] = "recvs", [8] = "errno",
	[9] = "text", [10] = "region"}

-- Returns the kinds of the descriptors.
local function add_tlvs(tree, tvb, hdrlen)
	local at, fds = HEADER, {}
	while at + 4 <= hdrlen do
		local kind, len = tvb(at, 2):le_uint(), tvb(at + 2, 2):le_uint()
		if kind == 0 then
			break
		end
		if at + 4 + len > hdrlen then
			tree:add_proto_expert_info(expert_short)
			break
		end
		if kind == 1 then
			fds[#fds + 1] = add_fd(tree, tvb(at + 4, len))
		elseif TLVS[kind] and len > 0 then
			local item = kind == 8 and tree:add_le(f.errno, tvb(at + 4, len)) or tree:add(f[TLVS[kind]], tvb(at + 4, len))
			if kind == 6 then
				item:add_proto_expert_info(expert_finding, tvb(at + 4, len):string())
			end
		end
		at = at + 4 + len + (-len % 4)
	end
	return fds
end

local function add_record(tree, tvb, hdrlen)
	local item = tree:add(tvb(0, hdrlen), "Record")
	item:add(f.r_version, tvb(0, 1))
	item:add(f.r_direction, tvb(1, 1))
	item:add_le(f.r_hdrlen, tvb(2, 2))
	item:add(f.r_channel, tvb(4, 1))
	item:add(f.r_tap, tvb(5, 1))
	add_flags(item, tvb)
	item:add_le(f.r_connection, tvb(8, 4))
	item:add_le(f.r_orig_len, tvb(12, 4))
	item:add_le(f.r_stream_off, tvb(16, 8))
	item:add_le(f.r_tgid, tvb(24, 4))
	item:add_le(f.r_tid, tvb(28, 4))
	item:add_le(f.r_nfds, tvb(32, 2))
	item:add_le(f.r_kind, tvb(34, 2))
	item:add_le(f.r_seq, tvb(36, 4))
	item:add_le(f.r_snd_ino, tvb(40, 8))
	item:add_le(f.r_rcv_ino, tvb(48, 8))
	return add_tlvs(item, tvb, hdrlen)
end

-- --- payloads ---------------------------------------------------------------------------------------

local function fits(name, len)
	local p = payloads[name]
	local last = p.fields[#p.fields]
	return (len >= p.min and len <= p.max) or (last and last.kind == "pad" and len == last.offset)
end

local function choose(row, reply, len)
	local list = reply and {row.reply, "U64", row.reply_alt} or {row.request, row.request_alt}
	for _, name in ipairs(list) do
		if fits(name, len) then
			return name
		end
	end
end

local function add_uint(tree, key, range, big)
	local value = big and range:uint64() or range:le_uint64()
	local item
	if big then
		item = tree:add(f[key], range)
	else
		item = tree:add_le(f[key], range)
	end
	return item, value
end

-- A number for the info column: small ones decimal.
local function shown(value)
	if value < UInt64(65536) then
		return tostring(value)
	end
	return "0x" .. (tostring(value:tohex()):gsub("^0+", ""))
end

local function add_names(item, space, value, range)
	local found = {}
	for bit = 0, 63 do
		local set = value:rshift(bit):band(1) == UInt64(1)
		if set then
			local name = features[space][bit] or ("bit " .. bit)
			found[#found + 1] = name
			item:add(f.feature, range, name):set_text(name)
		end
	end
	if #found > 0 then
		item:append_text(" (" .. table.concat(found, " | ") .. ")")
	end
end

local function add_bits(item, payload, row, value, range)
	local texts = {}
	for _, bits in ipairs(payload.bits) do
		if bits.field == row.name then
			local part = value:rshift(bits.first)
			if bits.width < 64 then
				part = part:band(UInt64(1):lshift(bits.width) - 1)
			end
			item:add(f["p_" .. bits.name], range, part)
			if bits.width > 1 or part == UInt64(1) then
				texts[#texts + 1] = bits.name .. "=" .. shown(part)
			end
		end
	end
	return texts
end

local add_fields

local function add_array(tree, row, tvb, big)
	local at, n = row.offset, 0
	while row.size > 0 and at + row.size <= tvb:len() do
		if row.kind == "region" then
			add_fields(tree:add(tvb(at, row.size), row.name .. "[" .. n .. "]"), payloads["REGION"], tvb(at, row.size), big)
		else
			local value = big and tvb(at, row.size):uint64() or tvb(at, row.size):le_uint64()
			if value ~= UInt64(0) then
				add_uint(tree, "p_" .. row.name, tvb(at, row.size), big):prepend_text("[" .. n .. "] ")
			end
		end
		at, n = at + row.size, n + 1
	end
	return row.name .. "=" .. n
end

-- One field; what the info column says of it.
local function add_field(tree, payload, row, tvb, big)
	if row.array and row.kind ~= "bytes" then
		return add_array(tree, row, tvb, big)
	end
	if row.offset >= tvb:len() then
		return nil
	end
	local size = row.size > 0 and row.size or tvb:len() - row.offset
	if row.offset + size > tvb:len() then
		tree:add_proto_expert_info(expert_short)
		return nil
	end
	local range = tvb(row.offset, size)
	if row.kind == "region" then
		return add_fields(tree, payloads["REGION"], range, big)
	end
	if row.kind == "bytes" then
		tree:add(f["p_" .. row.name], range)
		return nil
	end
	local item, value = add_uint(tree, "p_" .. row.name, range, big)
	if row.kind == "pad" then
		return nil
	end
	if row.names then
		add_names(item, row.names, value, range)
	else
		local texts = add_bits(item, payload, row, value, range)
		if #texts > 0 then
			return table.concat(texts, " ")
		end
	end
	return row.name .. "=" .. shown(value)
end

add_fields = function(tree, payload, tvb, big)
	local texts = {}
	for _, row in ipairs(payload.fields) do
		texts[#texts + 1] = add_field(tree, payload, row, tvb, big)
	end
	return table.concat(texts, " ")
end

-- --- messages ---------------------------------------------------------------------------------------

local function add_message(tree, tvb, channel, direction, big)
	if tvb:len() < MESSAGE_HEADER then
		tree:add_proto_expert_info(expert_short)
		return "incomplete header"
	end
	local uint = function(at)
		return big and tvb(at, 4):uint() or tvb(at, 4):le_uint()
	end
	local add = function(to, key, at)
		if big then
			return to:add(f[key], tvb(at, 4))
		end
		return to:add_le(f[key], tvb(at, 4))
	end
	local id, size = uint(0), uint(8)
	local row = messages[channel][id]
	local name = row and row.name or ("request " .. id)
	local reply = (channel == 1) == (direction == 2)
	local item = tree:add(tvb(), "Message: " .. name .. (reply and " reply" or ""))

	item:add(f.name, tvb(0, 4), name):set_generated()
	add(item, "h_request", 0)
	local flags = add(item, "h_flags", 4)
	add(flags, "h_version", 4)
	add(flags, "h_reply", 4)
	add(flags, "h_need_reply", 4)
	add(item, "h_size", 8)

	local info = name .. (reply and " reply" or "")
	local len = tvb:len() - MESSAGE_HEADER
	if len ~= size then
		item:add_proto_expert_info(expert_short, "The header says " .. size .. " bytes, " .. len .. " are here")
	end
	local payload = row and choose(row, reply, len)
	if payload and len > 0 then
		local rest = tvb(MESSAGE_HEADER, len)
		local text = add_fields(item:add(rest, "Payload: " .. payload), payloads[payload], rest, big)
		info = info .. " " .. text
	elseif len > 0 then
		item:add(f.payload, tvb(MESSAGE_HEADER, len))
	end
	if not row or not payload then
		item:add_proto_expert_info(expert_unknown)
	end
	if math.floor(uint(4) / NEED_REPLY) % 2 == 1 then
		info = info .. " [need_reply]"
	end
	return info
end

-- --- other records ----------------------------------------------------------------------------------

local function add_life(tree, tvb, header)
	local kind = header(34, 2):le_uint()
	tree:add_le(f.life, header(34, 2))
	if kind == 5 and tvb and tvb:len() >= 4 then
		tree:add_le(f.status, tvb(0, 4))
	elseif kind == 7 and tvb and tvb:len() >= 8 then
		tree:add_le(f.lost, tvb(0, 8))
	end
	return "* " .. (names.life[kind] or tostring(kind))
end

local function add_ring(tree, tvb, header)
	local kind = header(34, 2):le_uint()
	local info = names.ring[kind] or tostring(kind)
	tree:add_le(f.ring, header(34, 2))
	if tvb and tvb:len() >= 4 then
		tree:add_le(f.queue, tvb(0, 4))
		info = info .. " queue=" .. tvb(0, 4):le_uint()
	end
	if kind <= 3 and tvb and tvb:len() >= 16 then
		tree:add_le(f.value, tvb(8, 8))
	end
	return info
end

local function add_other(tree, tvb, channel, header)
	if channel == LIFE then
		return add_life(tree, tvb, header)
	elseif channel == RING then
		return add_ring(tree, tvb, header)
	elseif channel == META then
		if tvb then
			tree:add(f.json, tvb)
		end
		return header(34, 2):le_uint() == 2 and "* end of the capture" or "* capture"
	end
	if tvb then
		tree:add(f.content, tvb)
	end
	return (names.channel[channel] or "?") .. " of " .. header(12, 4):le_uint() .. " bytes"
end

local PEERS = {[1] = {"front-end", "back-end"}, [2] = {"back-end", "front-end"}}

function proto.dissector(tvb, pinfo, root)
	if tvb:len() < HEADER or tvb(0, 1):uint() ~= VERSION then
		return 0
	end
	local hdrlen, channel, direction = tvb(2, 2):le_uint(), tvb(4, 1):uint(), tvb(1, 1):uint()
	if hdrlen < HEADER or hdrlen > tvb:len() then
		return 0
	end
	local tree = root:add(proto, tvb())
	local big = math.floor(tvb(6, 2):le_uint() / BIG_ENDIAN) % 2 == 1
	local fds = add_record(tree, tvb, hdrlen)
	local rest = hdrlen < tvb:len() and tvb(hdrlen) or nil
	local info

	if messages[channel] and direction ~= 0 and rest then
		info = add_message(tree, rest, channel, direction, big)
	else
		info = add_other(tree, rest, channel, tvb)
	end
	local connection = tvb(8, 4):le_uint()
	if #fds > 0 then
		info = info .. " fds=" .. table.concat(fds, ",")
	end
	pinfo.cols.protocol = "vhost-user"
	if PEERS[direction] then
		pinfo.cols.src, pinfo.cols.dst = PEERS[direction][1], PEERS[direction][2]
	end
	pinfo.cols.info = (connection > 0 and ("[" .. connection .. "] ") or "")
		.. (direction == 1 and "> " or direction == 2 and "< " or "") .. info
	tree:append_text(", " .. info)
	return tvb:len()
end

DissectorTable.get("wtap_encap"):add(wtap.USER0, proto)
