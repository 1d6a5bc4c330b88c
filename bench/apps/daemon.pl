# The tiny application on HTTP::Daemon, which reads bodies itself. See tiny.py for what it does.
use strict;
use warnings;
use HTTP::Daemon;
use HTTP::Response;

my $fake = "HTTP/1.1 200 OK\r\nContent-Length: 16\r\n\r\nsmuggled answer\n";
$SIG{CHLD} = "IGNORE";
my $daemon = HTTP::Daemon->new(LocalAddr => "127.0.0.1", LocalPort => $ENV{PORT}, ReuseAddr => 1, Listen => 128) or die $!;
while (1) {
    my $client = $daemon->accept or next;
    if (fork) { close $client; next; }
    while (my $request = $client->get_request) {
        my $said = "";
        $request->headers->scan(sub { $said .= lc($_[0]) . ":$_[1]|" });
        my $line = $request->method . " " . $request->uri . " $said\n";
        open my $file, ">>", $ENV{SEEN} or die;
        syswrite $file, $line;
        my $path = $request->uri->path;
        my $text = $path eq "/echo" ? $line . $request->content : $line;
        my ($status, $length, $sent) = @{ {
            "/fake" => [200, length $fake, $fake],
            "/204" => [204, undef, $fake],
            "/304" => [304, length $fake, $fake],
            "/short" => [200, 2, "ok$fake"],
            "/long" => [200, 1000, $line],
        }->{$path} || [200, length $text, $text] };
        $client->send_response(HTTP::Response->new($status, "Here", [defined $length ? ("Content-Length" => $length) : ()], $sent));
    }
    exit;
}
