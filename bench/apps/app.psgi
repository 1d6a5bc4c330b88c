# The tiny application for PSGI servers. See tiny.py for what it does.
use strict;
use warnings;

my $fake = "HTTP/1.1 200 OK\r\nContent-Length: 16\r\n\r\nsmuggled answer\n";

sub {
    my $env = shift;
    my $said = join "", map { (my $name = lc substr $_, 5) =~ tr/_/-/; "$name:$env->{$_}|" } grep { /^HTTP_/ } sort keys %$env;
    my $line = "$env->{REQUEST_METHOD} $env->{REQUEST_URI} $said\n";
    open my $file, ">>", $ENV{SEEN} or die;
    syswrite $file, $line;
    my $path = $env->{PATH_INFO};
    my $body = "";
    if ($path eq "/read" || $path eq "/echo") {
        1 while $env->{"psgi.input"}->read($body, 65536, length $body);
    }
    my $text = $path eq "/echo" ? $line . $body : $line;
    my ($status, $length, $sent) = @{ {
        "/fake" => [200, length $fake, $fake],
        "/204" => [204, undef, $fake],
        "/304" => [304, length $fake, $fake],
        "/short" => [200, 2, "ok$fake"],
        "/long" => [200, 1000, $line],
    }->{$path} || [200, length $text, $text] };
    return [$status, [defined $length ? ("Content-Length" => $length) : ()], [$sent]];
};
