#!/bin/bash
# testpmd.sh SOCKET [PAIRS [ARGUMENTS]]: becomes DPDK's testpmd with one vhost port of two queue pairs at SOCKET, which
# returns on each pair what it gets there. ARGUMENTS go to the port: client=1 makes it connect.
# It ends at the end of its standard input, so it gets a pipe that never ends: its own.
pairs=${2:-2}
exec dpdk-testpmd --no-pci --no-telemetry --no-shconf --no-huge -m 256 --file-prefix "vhu$$" --lcores "(0,1)@(0-$(($(nproc) - 1)))" \
	--vdev "net_vhost0,iface=$1,queues=$pairs${3:+,$3}" -- --nb-cores=1 --rxq=$pairs --txq=$pairs --no-mlockall \
	--total-num-mbufs=8192 --forward-mode=io 0<> <(:)
