# serve.pl PORT [DELAY]: answers every request with 200 on 127.0.0.1, after DELAY seconds of preparation.
use strict;
use warnings;
use Socket;

my ($port, $delay) = @ARGV;
select(undef, undef, undef, $delay) if $delay;
$| = 1;
socket(my $server, PF_INET, SOCK_STREAM, 0) or die "socket: $!";
setsockopt($server, SOL_SOCKET, SO_REUSEADDR, 1) or die "setsockopt: $!";
bind($server, sockaddr_in($port, INADDR_LOOPBACK)) or die "cannot listen on 127.0.0.1:$port: $!\n";
listen($server, 16) or die "listen: $!";
print "listening on 127.0.0.1:$port\n";
local $SIG{PIPE} = 'IGNORE';
while (accept(my $client, $server)) {
    sysread($client, my $request, 4096);
    my $body = "hello from port $port\n";
    my $length = length $body;
    syswrite($client, "HTTP/1.1 200 OK\r\nContent-Length: $length\r\nConnection: close\r\n\r\n$body");
    close $client;
}
