/* chan IFACE N: sets a network device's number of combined channels, as `ethtool -L IFACE combined N`. */
#include <linux/ethtool.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

int main(int argc, char **argv)
{
	struct ethtool_channels channels = {.cmd = ETHTOOL_GCHANNELS};
	struct ifreq req = {.ifr_data = (char *)&channels};
	int fd = socket(AF_INET, SOCK_DGRAM, 0);

	if (argc != 3 || fd < 0)
		return 2;
	strncpy(req.ifr_name, argv[1], IFNAMSIZ - 1);
	if (ioctl(fd, SIOCETHTOOL, &req) < 0) {
		perror("ETHTOOL_GCHANNELS");
		return 1;
	}
	channels.cmd = ETHTOOL_SCHANNELS;
	channels.combined_count = (unsigned)atoi(argv[2]);
	if (ioctl(fd, SIOCETHTOOL, &req) < 0) {
		perror("ETHTOOL_SCHANNELS");
		return 1;
	}
	return 0;
}
