#!/bin/sh
# openvswitch.sh SOCKET: becomes Open vSwitch with DPDK and one vhost-user port at SOCKET. Its database, logs and
# control sockets lie in a folder of their own beside SOCKET; nothing of an Open vSwitch of the system is touched.
set -eu
socket=$1
dir=$socket.ovs
rm -rf "$dir"
mkdir -p "$dir"
export OVS_RUNDIR="$dir" OVS_LOGDIR="$dir" OVS_DBDIR="$dir" OVS_SYSCONFDIR="$dir"
database=unix:$dir/db.sock
ovsdb-tool create "$dir/conf.db" /usr/share/openvswitch/vswitch.ovsschema
ovsdb-server "$dir/conf.db" --remote="punix:$dir/db.sock" --unixctl="$dir/database.ctl" --log-file="$dir/database.log" \
	-vconsole:off </dev/null >/dev/null 2>&1 &
server=$!
# Whoever kills our process group ends the database as well; when only the switch goes, this does.
switch=$$
(tail --pid="$switch" -f /dev/null; kill "$server") </dev/null >/dev/null 2>&1 &
ovs-vsctl --db="$database" --no-wait --timeout=60 --retry init
ovs-vsctl --db="$database" --no-wait set Open_vSwitch . other_config:dpdk-init=true other_config:pmd-cpu-mask=0x1 \
	other_config:dpdk-extra="--no-pci --no-telemetry --no-shconf --file-prefix vhu$$ --no-huge --legacy-mem -m 512"
ovs-vsctl --db="$database" --no-wait add-br br0 -- set bridge br0 datapath_type=netdev \
	-- add-port br0 vhost0 -- set Interface vhost0 type=dpdkvhostuser
ln -sf "$dir/vhost0" "$socket"
exec "${OVS_VSWITCHD:-/usr/lib/openvswitch-switch-dpdk/ovs-vswitchd-dpdk}" "$database" --unixctl="$dir/switch.ctl" \
	--log-file="$dir/switch.log" -vconsole:err
