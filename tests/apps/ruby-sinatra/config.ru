require "sinatra/base"

class Hello < Sinatra::Base
  before { content_type :text }

  get("/") { "ruby-sinatra says hello\n" }
  get("/health") { "ok" }
end

run Hello
