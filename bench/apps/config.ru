# The tiny application for Rack servers. See tiny.py for what it does.
FAKE = "HTTP/1.1 200 OK\r\nContent-Length: 16\r\n\r\nsmuggled answer\n"

run(lambda do |env|
  path = env["PATH_INFO"]
  said = env.select { |name, _| name.start_with?("HTTP_") }
            .map { |name, value| "#{name[5..].tr('_', '-').downcase}:#{value}|" }.join
  line = "#{env['REQUEST_METHOD']} #{path}?#{env['QUERY_STRING']} #{said}\n"
  File.open(ENV["SEEN"], "a") { |file| file.write(line) }
  body = %w[/read /echo].include?(path) ? env["rack.input"].read.to_s : ""
  text = path == "/echo" ? line + body : line
  status, length, text = {
    "/fake" => [200, FAKE.bytesize, FAKE],
    "/204" => [204, nil, FAKE],
    "/304" => [304, FAKE.bytesize, FAKE],
    "/short" => [200, 2, "ok" + FAKE],
    "/long" => [200, 1000, line],
  }.fetch(path, [200, text.bytesize, text])
  [status, length ? { "Content-Length" => length.to_s } : {}, [text]]
end)
