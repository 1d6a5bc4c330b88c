# The tiny application on Mojolicious. See tiny.py for what it does.
use Mojolicious::Lite -signatures;

my $fake = "HTTP/1.1 200 OK\r\nContent-Length: 16\r\n\r\nsmuggled answer\n";

any '/*any' => { any => '' } => sub ($c) {
    my $request = $c->req;
    my $said = "";
    for my $name (@{ $request->headers->names }) { $said .= lc($name) . ":$_|" for @{ $request->headers->every_header($name) }; }
    my $line = $request->method . " " . $request->url->path_query . " $said\n";
    open my $file, ">>", $ENV{SEEN} or die;
    syswrite $file, $line;
    my $path = $request->url->path->to_string;
    my $text = $path eq "/echo" ? $line . $request->body : $line;
    my ($status, $length, $sent) = @{ {
        "/fake" => [200, length $fake, $fake],
        "/204" => [204, undef, $fake],
        "/304" => [304, length $fake, $fake],
        "/short" => [200, 2, "ok$fake"],
        "/long" => [200, 1000, $line],
    }->{$path} || [200, length $text, $text] };
    $c->res->headers->content_length($length) if defined $length;
    $c->render(data => $sent, status => $status);
};
app->log->level('fatal');
app->start('daemon', '-l', "http://127.0.0.1:$ENV{PORT}");
